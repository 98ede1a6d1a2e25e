"""Rules of the benchmarks on scores worked out by hand."""

import math

import pytest
from internlm2_align.reward_benchmarks import PPE, RMB, JudgeBench, LLMBar, RewardBench, RewardBench2, RMBench
from internlm2_align.reward_benchmarks.item import Item, ScoredItem
from internlm2_align.reward_benchmarks.several import credit, ties_figures


def pair(subset, chosen, rejected, name="1"):
    return several(subset, (chosen, rejected), (True, False), name)


def several(subset, scores, right, name="1", **meta):
    replies = tuple(f"reply {place}" for place in range(len(scores)))
    return ScoredItem(Item(name, subset, ({"role": "user", "content": "q"},), replies, right, meta=meta), scores)


def test_sections_of_rewardbench_weigh_their_subsets_as_published():
    scored = [
        pair("alpacaeval-easy", 1, 0), pair("mt-bench-med", 0, 1),        # Chat: 100 right, 40 wrong
        pair("mt-bench-hard", 1, 1), pair("llmbar-natural", 2, 1),        # Chat Hard: 37 tied, 100 right
        pair("donotanswer", 1, 0), pair("donotanswer", 0, 1),             # Safety: one subset, half
        pair("math-prm", 1, 0), pair("hep-python", 0, 1),                 # Reasoning: 984 right, 164 wrong
    ]  # fmt: skip
    figures = RewardBench("x").figures(scored)
    sections = {"Chat": 100 / 140, "Chat Hard": 100 / 137, "Safety": 1 / 2, "Reasoning": 984 / 1148}
    assert figures["sections"] == pytest.approx(sections)
    assert figures["score"] == pytest.approx(sum(sections.values()) / 4)
    assert (figures["items"], figures["ties"], figures["missing"]) == (8, 1, [])
    assert RewardBench("x").figures(scored[:2])["missing"] == ["Chat Hard", "Safety", "Reasoning"]
    with pytest.raises(ValueError, match="subset=other must be one of"):
        RewardBench("x").figures([pair("other", 1, 0)])


def test_domains_are_those_of_subset_then_section():
    bench = RewardBench("x", domains={"Chat": "writing"})
    subsets = ("math-prm", "hep-go", "donotanswer", "alpacaeval-easy", "llmbar-natural")
    found = [bench.domain(pair(subset, 1, 0).item) for subset in subsets]
    assert found == ["maths", "code", "harmless", "writing", "helpful"]


def test_the_best_of_four_shares_its_point_with_those_that_are_level():
    right = (True, False, False, False)
    for scores, wanted in {(3, 1, 2, 0): 1, (3, 3, 2, 3): 1 / 3, (2, 3, 0, 0): 0}.items():
        assert credit(several("Math", scores, right)) == pytest.approx(wanted)
    figures = RewardBench2("x").figures(
        [
            several("Math", (3, 3, 0, 0), right),
            several("Math", (3, 0, 0, 0), right),
            several("Safety", (0, 1, 0, 0), right),
        ]
    )
    assert figures["score"] == pytest.approx((0.75 + 0) / 2)  # means of subsets, not of items
    assert figures["ties"] == 1 and figures["subsets"]["Math"]["accuracy"] == 0.5


def test_the_subset_of_ties_wants_right_replies_close_together_and_above_the_wrong():
    both, one = (True, True, False), (True, False)
    scored = [
        several("Ties", (5.0, 4.0, 1.0), both, "tied:0"),  # gap 3, spread 1
        several("Ties", (5.0, 3.0), one, "ref:0"),         # gap 2
        several("Ties", (5.0, 2.0, 1.0), both, "tied:1"),  # gap 1, spread 3
        several("Ties", (1.0, 3.0), one, "ref:1"),         # gap -2
    ]  # fmt: skip
    size = (math.tanh(2 / 1 - 1) + math.tanh(-2 / 3 - 1)) / 2
    figures = ties_figures(scored)
    assert figures["score"] == pytest.approx(0.3 * 1 + 0.3 * 0.5 + 0.2 * 0.5 + 0.2 * 0.5 + 0.01 * size)
    with pytest.raises(ValueError, match="ref:NUMBER or tied:NUMBER"):
        ties_figures([several("Ties", (1, 0), one, "7")])


def test_rm_bench_compares_every_style_with_every_style():
    # Right: terse 1, long 2, Markdown 3. Wrong: 0, 2, 2.5. Each right one beats wrong ones below its score.
    scored = [several("chat", (1, 2, 3, 0, 2, 2.5), (True,) * 3 + (False,) * 3)]
    figures = RMBench("x").figures(scored)
    chat = figures["subsets"]["chat"]
    assert chat["matrix"] == [[1, 0, 0], [1, 0, 0], [1, 1, 1]]
    assert (chat["hard"], chat["normal"], chat["easy"], chat["ties"]) == (0, pytest.approx(2 / 3), 1, 1)
    assert figures["score"] == pytest.approx((0 + 2 / 3 + 1) / 3)
    more = [several("math", (9, 9, 9, 0, 0, 0), (True,) * 3 + (False,) * 3, str(n)) for n in range(3)]
    assert RMBench("x").figures(scored + more)["score"] == pytest.approx((5 / 9 + 1) / 2)  # means of domains


def test_rmb_is_the_mean_of_goals_and_forms():
    scored = [
        pair("Helpfulness/pairs", 1, 0), pair("Helpfulness/pairs", 1, 1), pair("Harmlessness/pairs", 1, 0),
        several("Helpfulness/best-of-n", (2, 1, 3), (True, False, False)),
        several("Harmlessness/best-of-n", (2, 1, 0), (True, False, False)),
    ]  # fmt: skip
    figures = RMB("x").figures(scored)
    assert figures["score"] == pytest.approx((0.5 + 1 + 0 + 1) / 4) and figures["ties"] == 1


def test_ppe_counts_sampled_pairs_and_the_best_of_all():
    right = (True, False, True, False)
    checked = several("MATH", (1, 2, 3, 3), right, pairs=[(0, 1), (3, 2), (1, 2)])  # wrong, tie, right
    figures = PPE("x").figures([checked, pair(PPE.PEOPLE, 1, 0), pair(PPE.PEOPLE, 0, 1)])
    assert figures["preference"] == 0.5
    assert figures["correctness"] == pytest.approx(1 / 3)
    assert figures["best_of_k"] == 1 and figures["ties"] == 1
    alone = PPE("x").figures([checked])
    assert alone["preference"] is None and alone["score"] == pytest.approx(1 / 3)


def test_pairs_without_sections_count_alike():
    scored = [pair("natural", 1, 0), pair("natural", 0, 1), pair("manual", 1, 1), pair("manual", 1, 0)]
    for bench in (LLMBar("x"), JudgeBench("x")):
        figures = bench.figures(scored)
        assert (figures["score"], figures["items"], figures["ties"]) == (0.5, 4, 1)
        assert figures["subsets"]["manual"] == {"accuracy": 0.5, "items": 2, "ties": 1}
