from internlm2_data.code.order import dependency_order


def test_dependencies_come_first():
    assert dependency_order({"main.py": {"a.py", "b.py"}, "b.py": {"a.py"}, "a.py": set()}) == [
        "a.py",
        "b.py",
        "main.py",
    ]


def test_of_files_that_could_come_next_the_shorter_path_does():
    imports = {"src/deep/x.py": set(), "zz.py": set(), "b.py": set(), "a.py": set()}
    assert dependency_order(imports) == ["a.py", "b.py", "zz.py", "src/deep/x.py"]


def test_cycles_start_alphabetically():
    assert dependency_order({"b.py": {"a.py"}, "c.py": {"b.py"}, "a.py": {"c.py"}}) == ["a.py", "b.py", "c.py"]
    two = {"x.py": {"y.py"}, "y.py": {"x.py"}, "m.py": {"n.py"}, "n.py": {"m.py"}, "z.py": {"x.py", "m.py"}}
    assert dependency_order(two) == ["m.py", "n.py", "x.py", "y.py", "z.py"]


def test_unknown_and_self_imports_do_not_matter():
    assert dependency_order({"a.py": {"a.py", "gone.py"}}) == ["a.py"]


def test_documentation_stands_before_the_first_code_file_of_its_folder():
    imports = {"pkg/a.py": set(), "pkg/b.py": {"pkg/a.py"}, "other/c.py": set()}
    docs = {"README.md", "pkg/GUIDE.md", "other/NOTES.md", "docs/lonely.md"}
    assert dependency_order(imports, docs) == [
        "README.md", "pkg/GUIDE.md", "pkg/a.py", "pkg/b.py", "other/NOTES.md", "other/c.py", "docs/lonely.md",
    ]  # fmt: skip


def test_a_large_repository_takes_no_time():
    imports = {f"f{i}.py": {f"f{i + 1}.py"} for i in range(20_000)}
    imports["f20000.py"] = {"f0.py"}
    assert len(dependency_order(imports)) == 20_001
