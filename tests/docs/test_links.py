"""Links between pages of the repository lead to files and headings that exist."""

import re
from functools import cache
from itertools import chain
from pathlib import Path

import pytest


@cache
def anchors(file: Path) -> set[str]:
    """Anchors of a page's headings, as code hosts and the site make them."""
    text = re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(file: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.S)
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (file.parent / path).resolve() if path else file
        if not place.exists() or (anchor and anchor not in anchors(place)):
            found.append(target)
    return found


def test_links(page: str, root: Path) -> None:
    assert broken(root / page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# A heading: one\n")
    (tmp_path / "a.md").write_text("[x](b.md#a-heading-one) [y](b.md#two) [z](c.md) [w](https://example.org/c.md)")
    assert broken(tmp_path / "a.md") == ["b.md#two", "c.md"]


@pytest.mark.parametrize("package", ["core", "data", "align", "parallel", "records"])
def test_packages_carry_licence_and_metadata(package: str, root: Path) -> None:
    import tomllib

    project = tomllib.loads((root / f"packages/{package}/pyproject.toml").read_text())["project"]
    assert (root / f"packages/{package}/LICENSE").read_text() == (root / "LICENSE").read_text()
    assert project["license-files"] == ["LICENSE"] and project["classifiers"] and project["urls"]
    needed = [*project["dependencies"], *chain(*project.get("optional-dependencies", {}).values())]
    ours = [line for line in needed if line.startswith("internlm2-") and not line.startswith(f"internlm2-{package}[")]
    assert all(re.search(r">=0\.1,<0\.2", line) for line in ours)
