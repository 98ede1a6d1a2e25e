"""A value is written once: in the signature of what takes it, or in a recipe, which then cites the report."""

import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from internlm2_conf.recipes import CONF
from internlm2_conf.targets import HYDRAS, arguments

FILES = sorted(CONF.rglob("*.yaml"))
CITED = re.compile(r"#.*\b(report|table|section)\b", re.I)
TEXT = "\n".join(file.read_text(encoding="utf-8") for file in FILES)


def nodes(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from nodes(value)


@cache
def defaults(target: str) -> dict[str, Any]:
    known = arguments(target) or {}
    return {name: one.default for name, one in known.items() if one.default is not inspect.Parameter.empty}


def repeated(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8")
    root = yaml.compose(text)
    for node in nodes(root) if root else ():
        pairs = {key.value: (key, yaml.safe_load(yaml.serialize(value))) for key, value in node.value}
        target = pairs.get("_target_", (None, None))[1]
        for name, (key, value) in pairs.items() if target else ():
            if name in HYDRAS or name not in defaults(target):
                continue
            default = defaults(target)[name]
            alike = list(default) if isinstance(default, tuple) else default
            # What others refer to has to be written.
            is_referred = re.search(rf"\$\{{[^}}]*\b{re.escape(name)}[,}}]", TEXT)
            line = text.splitlines()[key.start_mark.line]
            if type(alike) is type(value) and alike == value and not is_referred and not CITED.search(line):
                yield f"{file.relative_to(CONF)}:{key.start_mark.line + 1}: {name}: {value} is the default of {target}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(CONF).as_posix())
def test_no_value_repeats_a_signature(file: Path) -> None:
    found = list(repeated(file))
    assert not found, "\n".join(found)


def test_a_repetition_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "CONF", tmp_path)
    file = tmp_path / "x.yaml"
    file.write_text("node:\n  _target_: difflib.get_close_matches\n  n: 3\n  cutoff: 0.6  # report 1\n  word: x\n")
    assert [line.partition(" ")[2] for line in repeated(file)] == ["n: 3 is the default of difflib.get_close_matches"]
