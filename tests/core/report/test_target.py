import pytest
from internlm2_core.report import Source, Target
from internlm2_core.report.source import Loaded
from internlm2_core.report.target import find

FIGURES = {
    "accuracy": 0.8,
    "name": "text",
    "domains": {"a": {"accuracy": 0.9}, "b": {"accuracy": 0.7}, "c": {"pairs": 3}},
    "rounds": [{"start": 1.0, "best": 1.5}, {"start": 2.0, "best": 1.9}],
    "flag": True,
}
LOADED = {"s": Loaded(Source("s", "record", "x"), "present", FIGURES)}


@pytest.mark.parametrize(
    ("figure", "minus", "bound", "value", "outcome"),
    [
        (["accuracy"], [], {"at_least": 0.8}, 0.8, "reached"),
        (["accuracy"], [], {"above": 0.8}, 0.8, "missed"),
        (["accuracy"], [], {"below": 0.8}, 0.8, "missed"),
        (["domains", "*", "accuracy"], [], {"at_least": 0.8}, 0.7, "missed"),
        (["domains", "*", "accuracy"], [], {"below": 0.8}, 0.9, "missed"),
        (["rounds", "*", "best"], ["rounds", "*", "start"], {"above": 0}, -0.1, "missed"),
        (["accuracy"], ["domains", "b", "accuracy"], {"above": 0}, 0.1, "reached"),
        (["accuracy"], ["nothing"], {"above": 0}, None, "unknown"),
        (["name"], [], {"above": 0}, None, "unknown"),
        (["flag"], [], {"above": 0}, None, "unknown"),
        (["domains", "z"], [], {"below": 1}, None, "unknown"),
    ],
)
def test_outcomes(figure: list, minus: list, bound: dict, value: float | None, outcome: str) -> None:
    checked = Target("t", "s", figure, minus, **bound).check("run", LOADED)
    assert checked["outcome"] == outcome
    assert checked["value"] == (None if value is None else pytest.approx(value))


def test_numbers_as_keys_are_texts() -> None:
    assert list(find({"by_length": {"1024": 0.5}}, ["by_length", 1024])) == [0.5]


@pytest.mark.parametrize("bounds", [{}, {"above": 0, "below": 1}])
def test_one_bound(bounds: dict) -> None:
    with pytest.raises(ValueError, match="exactly one of"):
        Target("t", "s", ["a"], **bounds)
