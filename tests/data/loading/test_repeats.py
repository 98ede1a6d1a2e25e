"""How often the loader reads each class of quality."""

import pytest
from internlm2_data.loading import LongRows, PackedBatches
from internlm2_data.tokens import TokenWriter, token_sources


@pytest.fixture
def sources(tmp_path):
    for name in ("web", "code-high", "code-moderate", "code-low"):
        with TokenWriter(tmp_path / name, 100, {"quality": name.partition("-")[2]}) as out:
            for number in range(10):
                out.add([number] * 8)
    return token_sources(tmp_path)


@pytest.mark.parametrize("packing", ["cut", "best_fit"])
def test_the_loader_reads_high_more_than_once_and_low_not_at_all(sources, packing):
    batches = PackedBatches(sources, 8, 1, seed=1, packing=packing)
    assert batches.shares() == {"code-high": 0.5, "code-moderate": 0.25, "web": 0.25}
    assert batches.batches_per_pass() == 40
    rows = [batches.loader().sources[place.source].name for [place] in batches.loader().places(64)]
    assert sorted({name.rpartition("/")[2]: rows.count(name) for name in rows}.items()) == [
        ("code-high", 32), ("code-moderate", 16), ("web", 16),
    ]  # fmt: skip
    long = PackedBatches(
        sources, 8, 1, 1, long=LongRows({"high": sources["code-high"], "web": sources["web"]}), long_fraction=0.3
    )
    assert long.shares()["long/high"] == pytest.approx(0.2)
    assert PackedBatches(sources, 8, 1, 1, weights={"code-low": 1}).shares() == {"code-low": 1}, "weights say it all"
    for repeats in ({"best": 2}, {"high": -1}):
        with pytest.raises(ValueError, match=r"repeats=.* must be 0 or more for each of high, moderate, low\."):
            PackedBatches(sources, 8, 1, 1, repeats=repeats)
    with pytest.raises(ValueError, match=r"repeats=.* leave none of the sources \['low'\]"):
        PackedBatches({"low": sources["code-low"]}, 8, 1, 1).shares()


def test_a_weight_of_a_language_is_shared_by_its_classes(sources):
    def shares(weights, names=tuple(sources)):
        return PackedBatches({name: sources[name] for name in names}, 8, 1, 1, weights=weights).shares()

    assert shares({"web": 1, "code": 3}) == {"code-high": 0.5, "code-moderate": 0.25, "web": 0.25}
    assert shares({"code": 1, "code-low": 1}) == pytest.approx(
        {"code-high": 1 / 3, "code-low": 0.5, "code-moderate": 1 / 6}
    )
    plain = {"code": sources["web"], "code-high": sources["code-high"]}
    assert PackedBatches(plain, 8, 1, 1, weights={"code": 1}).shares() == pytest.approx(
        {"code": 1 / 3, "code-high": 2 / 3}
    )
    with pytest.raises(ValueError, match=r"weights=.* leave none of the sources"):
        shares({"code": 1}, ["code-low"])
    with pytest.raises(ValueError, match=r"weights name \['book'\]"):
        shares({"book": 1})
