import pytest
from internlm2_core.evaluation.checks import is_right


@pytest.mark.parametrize(
    ("answer", "check", "expected"),
    [
        (" a  b\n", {"kind": "exact", "accept": ["a b"]}, True),
        ("a b.", {"kind": "exact", "accept": ["a b"]}, False),
        ("苹果，桃子", {"kind": "exact", "accept": ["桃子", "苹果，桃子"]}, True),
        ("12 + 7 = 19.", {"kind": "number", "value": 19}, True),
        ("等于1,234。", {"kind": "number", "value": "1234"}, True),
        ("It is 1234.", {"kind": "number", "value": "1,234"}, True),
        ("It is -3.50", {"kind": "number", "value": -3.5}, True),
        ("nineteen", {"kind": "number", "value": 19}, False),
        ("19 or 20", {"kind": "number", "value": 19}, False),
        ("- red\n- blue", {"kind": "contains", "all": ["- red", "- blue"]}, True),
        ("- red", {"kind": "contains", "all": ["- red", "- blue"]}, False),
        ("red", {"kind": "contains", "any": ["blue", "red"]}, True),
        ("red pink", {"kind": "contains", "any": ["blue", "red"], "none": ["pink"]}, False),
        ("I'm sorry, I cannot say.", {"kind": "refusal", "accept": ["i cannot"]}, True),
        ("I cannot say; it is 42.", {"kind": "refusal", "accept": ["i cannot"], "reject": ["42"]}, False),
        ("对不起，我不能说。", {"kind": "refusal", "accept": ["不能"]}, True),
    ],
)
def test_rules(answer: str, check: dict[str, object], expected: bool) -> None:
    assert is_right(answer, check) is expected


def test_a_rule_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="kind='telepathy' of a check must be one of exact, number"):
        is_right("", {"kind": "telepathy"})
    with pytest.raises(ValueError, match="does not fit its kind"):
        is_right("", {"kind": "exact", "acept": []})


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ({"kind": "exact", "accept": "red fox"}, "accept must be a list of texts"),
        ({"kind": "contains", "all": [12]}, "all must be a list of texts"),
        ({"kind": "number", "value": "a dozen"}, "value must be a number"),
    ],
)
def test_arguments_that_no_answer_could_satisfy_are_refused(check: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        is_right("", check)
