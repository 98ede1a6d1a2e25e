import random

import networkx
import pytest
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


def test_what_only_depends_on_a_cycle_comes_after_it():
    imports = {"a.py": {"b.py"}, "b.py": {"y.py", "z.py"}, "x.py": {"y.py"}, "y.py": {"x.py", "z.py"}, "z.py": set()}
    assert dependency_order(imports) == ["z.py", "x.py", "y.py", "b.py", "a.py"]


def test_what_is_left_of_a_cycle_is_ordered_by_the_same_rules():
    """c, d and e are a cycle inside that of b to f. With b placed, f waits for e alone."""
    imports = {"b": {"f"}, "c": {"b", "e"}, "d": {"c"}, "e": {"d"}, "f": {"e"}, "a": {"b"}}
    assert dependency_order(imports) == ["b", "c", "d", "e", "f", "a"]


@pytest.mark.parametrize("seed", range(5))
def test_no_edge_is_violated_outside_cycles(seed):
    rng = random.Random(seed)
    names = [f"{rng.choice('ab')}/{n}.py" for n in range(60)]
    imports = {name: {rng.choice(names) for _ in range(rng.randrange(3))} - {name} for name in names}
    graph = networkx.DiGraph([(name, other) for name, needed in imports.items() for other in needed])
    graph.add_nodes_from(names)
    cycle_of = {name: n for n, cycle in enumerate(networkx.strongly_connected_components(graph)) for name in cycle}
    place = {name: n for n, name in enumerate(dependency_order(imports))}
    assert len(place) == 60
    assert all(place[b] < place[a] for a, b in graph.edges if cycle_of[a] != cycle_of[b])
    for cycle in networkx.strongly_connected_components(graph):
        places = [place[name] for name in cycle]
        assert max(places) - min(places) == len(cycle) - 1, "a cycle stands together"
        assert min(cycle) == min(cycle, key=lambda name: place[name]), "the alphabetically first starts it"


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
