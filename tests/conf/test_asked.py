"""Values are typed as people write them: Chinese and blanks inside lists and mappings too."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from internlm2_conf.asked import as_text


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("[数据/a.jsonl, b c.jsonl, d.jsonl]", ["数据/a.jsonl", "b c.jsonl", "d.jsonl"]),
        ("[{path: 数学.jsonl, domain: maths}, b.jsonl]", [{"path": "数学.jsonl", "domain": "maths"}, "b.jsonl"]),
        ('{_target_: a.B, openings: ["Sure! ", 好的！], few: [2, null]}', {"_target_": "a.B", "openings": ["Sure! ", "好的！"], "few": [2, None]}),
        ("{a: 'x, 好', b: c:d, e: [好, {f: 中 文}]}", {"a": "x, 好", "b": "c:d", "e": ["好", {"f": "中 文"}]}),
        ("[Q: who?, what's up, 1+1=?]", ["Q: who?", "what's up", "1+1=?"]),
        ("好的！", "好的！"),
    ],
)  # fmt: skip
def test_what_hydra_cannot_read_is_put_in_quotes(typed: str, value: object) -> None:
    assert OverridesParser.create().parse_override(as_text(f"key={typed}")).value() == value


def test_a_mapping_that_cannot_be_mended_does_not_become_a_text() -> None:
    assert as_text("domains={数学: maths}") == "domains={数学: maths}"
