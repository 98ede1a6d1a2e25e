import random
from collections import Counter
from pathlib import Path

from internlm2_align.labelling.candidates import SAMPLED, Candidate, at_hand
from internlm2_align.labelling.pairs import PairRules, random_pairs, scored_pairs
from internlm2_align.miniature import SimulatedAnnotator, WrittenCandidates
from internlm2_align.preferences.comparison import judged

ANNOTATOR = SimulatedAnnotator()


def label(records, annotator, rules, sampled=None, candidates=WrittenCandidates, counts=None):
    """Pairs as the job makes them: drawn by the annotator's scores, then judged by it."""
    asked = {pair.id: pair for pair in scored_pairs(records, annotator, rules, sampled, candidates, counts)}
    judgements = annotator.judge([*asked.values()], Path())
    return [judged(asked[judgement.comparison], judgement) for judgement in judgements]


def test_pairs_agree_with_the_annotator(many_records):
    counts = Counter()
    pairs = label(many_records, ANNOTATOR, PairRules(per_domain=3), counts=counts)
    by_id = {record["messages"][-2]["content"]: record for record in many_records}
    for pair in pairs:
        record = by_id[pair.meta["question"]]
        better, worse = (ANNOTATOR.score(record, reply, pair.domain) for reply in (pair.chosen, pair.rejected))
        assert better - worse >= 0.15 - 1e-9
        assert pair.meta["score_gap"] == round(better - worse, 3)
        assert pair.defect() is None and "record" not in pair.meta
        assert "simulated" in pair.source
    assert sum(counts[domain] for domain in ANNOTATOR.domains) == len(pairs)
    assert {pair.domain for pair in pairs} == set(ANNOTATOR.domains)
    assert {pair.language for pair in pairs} == {"en", "zh"}


def test_private_questions_give_directly_conflicting_pairs(many_records):
    pairs = [pair for pair in label(many_records, ANNOTATOR, PairRules()) if "conflicting" in pair.meta["slices"]]
    assert {pair.domain for pair in pairs} == {"helpful", "harmless"}
    told = {pair.meta["question"]: pair.chosen for pair in pairs if pair.domain == "helpful"}
    declined = {pair.meta["question"]: pair.chosen for pair in pairs if pair.domain == "harmless"}
    assert told.keys() == declined.keys()
    assert all(told[question] != declined[question] for question in told)


def test_sampled_replies_are_judged_too(records):
    sampled = {"sum": ["9 9 9 9"]}
    pairs = label([records["sum"]], ANNOTATOR, PairRules(per_domain=50), sampled)
    assert any(pair.rejected == "9 9 9 9" for pair in pairs)


def test_the_same_seed_gives_the_same_pairs_in_random_order(many_records):
    def drawn(seed=1):
        return scored_pairs(many_records, ANNOTATOR, PairRules(seed=seed), candidates=WrittenCandidates)

    assert drawn() == drawn() != drawn(2)
    verdicts = Counter(judgement.verdict for judgement in ANNOTATOR.judge(drawn(), Path()))
    assert set(verdicts) == {"first", "second"} and min(verdicts.values()) > 0.35 * verdicts.total()


class Longest(SimulatedAnnotator):
    """An annotator of one's own that scores: prefers long replies."""

    name = "longest"

    def domains_of(self, record):
        return ["long"]

    def slices_of(self, record):
        return ["own"]

    def score(self, record, reply, domain):
        return min(1.0, len(reply) / 100)


def test_another_annotator_scores_the_replies_at_hand():
    record = {"id": "a", "task": "chat", "language": "de"}
    record["messages"] = [{"role": "user", "content": "Hallo"}, {"role": "assistant", "content": "x" * 50}]
    sampled = {"a": ["x" * 80, "x" * 80 + " ", "y"]}
    found = label([record], Longest(), PairRules(per_domain=9), sampled, at_hand)
    assert {(len(pair.chosen), len(pair.rejected)) for pair in found} <= {(80, 50), (50, 1), (80, 1)}
    assert found and all(pair.source == "longest" and pair.meta["slices"][1] == "own" for pair in found)


def test_pairs_that_a_models_own_reply_loses_come_first_and_are_a_slice_of_their_own():
    record = {"id": "a", "task": "chat", "language": "de"}
    record["messages"] = [{"role": "user", "content": "Hallo"}, {"role": "assistant", "content": "x" * 50}]

    def write(records, seed):
        others = [Candidate("z" * length, f"written_{length}", may_win=False) for length in range(2, 20)]
        return lambda record, sampled: [Candidate("x" * 80, "reference"), *others, Candidate("y", SAMPLED)]

    for seed in range(10):
        [first, second] = label([record], Longest(), PairRules(seed=seed), candidates=write)
        assert first.rejected == "y" and "own_reply" in first.meta["slices"]
        assert second.rejected != "y" and "written" in second.meta["slices"]


def test_random_pairs_are_of_different_replies():
    prompt = [{"role": "user", "content": "?"}]
    pairs = random_pairs(prompt, "maths", ["a", " a", "b", "", "c"], 9, random.Random(0), language="zh")
    assert {frozenset(pair.replies) for pair in pairs} == {frozenset(two) for two in ("ab", "bc", "ac")}
    assert len({pair.id for pair in pairs}) == 3 and all(pair.language == "zh" for pair in pairs)
    assert random_pairs(prompt, "maths", ["a", "a"], 9, random.Random(0)) == []
    assert len(random_pairs(prompt, "maths", ["a", "b", "c"], 2, random.Random(0))) == 2
