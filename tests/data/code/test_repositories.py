import pytest
from internlm2_data.code import CodeQuality, RepositorySieve, find_repositories
from internlm2_data.code.languages import language_of
from internlm2_data.code.markdown import assemble, section
from internlm2_data.document import Document
from internlm2_data.io import Fault
from internlm2_data.page import Page
from internlm2_data.verdict import Drop


def file(path, text, language):
    return Document(text, source="code", language=language, type="code", meta={"repository": "r", "path": path})


def test_a_repository_becomes_one_document():
    files = [
        file("main.py", "import lib\n", "python"),
        file("lib.py", "x = 1\n", "python"),
        file("README.md", "# R\n\nText.\n", "markdown"),
    ]
    document = assemble("r", files)
    assert document.text == (
        "# r\n\n## README.md\n\n# R\n\nText.\n\n"
        "## lib.py\n\n```python\nx = 1\n```\n\n## main.py\n\n```python\nimport lib\n```\n"
    )
    assert (document.type, document.language, document.source) == ("repository", "python", "code")
    assert document.meta["files"] == ["README.md", "lib.py", "main.py"]


def test_a_fence_is_longer_than_any_inside():
    assert "````python\ns = '''```\n```'''\n````" in section(file("a.py", "s = '''```\n```'''", "python"))


def test_finding_repositories_and_their_files(tmp_path):
    for name in (
        "one/a.py",
        "one/.git/config",
        "two/pyproject.toml",
        "two/src/b.js",
        "two/node_modules/c.js",
        "two/x.bin",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content of a file\n")
    (tmp_path / "two/big.py").write_bytes(b"x" * (2 << 20))
    (tmp_path / "two/bin.py").write_bytes(b"\0\1\2")
    (tmp_path / "two/gb.py").write_bytes("# 中文注释写在这里，编码是国标。\n".encode("gbk"))
    found = find_repositories([tmp_path])
    assert [p.name for p in found] == ["one", "two"]
    assert find_repositories([tmp_path / "two"]) == [tmp_path / "two"]
    sifted = list(RepositorySieve().sift(found, "files"))
    documents = [x[0] for x in sifted if not isinstance(x, Fault)]
    assert [(d.meta["repository"], d.meta["path"], d.language) for d in documents] == [
        ("one", "a.py", "python"),
        ("two", "gb.py", "python"),
        ("two", "pyproject.toml", "toml"),
        ("two", "src/b.js", "javascript"),
    ]
    assert "中文注释" in documents[1].text
    assert len([x for x in sifted if isinstance(x, Fault)]) == 2


def test_inputs_that_hold_nothing(tmp_path):
    with pytest.raises(ValueError, match="hold no repository"):
        find_repositories([tmp_path])
    with pytest.raises(FileNotFoundError, match="is not a folder of repositories"):
        find_repositories([tmp_path / "nowhere"])


def test_languages():
    assert [language_of(n) for n in ("a/b.PY", "Makefile", "x.tar", "CMakeLists.txt", "noending")] == [
        "python", "makefile", None, "cmake", None,
    ]  # fmt: skip


def test_classes_of_quality():
    good = '"""Adds numbers."""\n\ndef add(first, second):\n    # The sum of both.\n    return first + second\n'
    plain = "".join(f"value_{i} = compute(source_{i}, target_{i})\n" for i in range(30))
    data = "x = [\n" + "1, 2, 3, 0x4, 5,\n" * 50 + "]\n"
    verdicts = CodeQuality().judge([Page(file("a.py", text, "python")) for text in (good, plain, data)])
    assert [v.rule for v in verdicts] == ["code.quality_high", "code.quality_high", "code.quality_low"] or [
        v.rule for v in verdicts
    ] == ["code.quality_high", "code.quality_moderate", "code.quality_low"]
    assert isinstance(verdicts[2], Drop)
