import random
from collections import Counter

from internlm2_align.labelling import SimulatedAnnotator
from internlm2_align.labelling.candidates import Candidates, bare_answer, swapped, wrong_numbers
from internlm2_align.labelling.pairs import PairRules, label

ANNOTATOR = SimulatedAnnotator()


def test_wrong_numbers_are_wrong_and_near():
    for text, value in (("The sum is 47.", 47), ("答案是0。", 0), ("-3", -3)):
        for wrong in wrong_numbers(text, random.Random(1), 20):
            assert wrong != text
            assert wrong.startswith(text[: text.index(str(value))])
    assert wrong_numbers("no number", random.Random(1), 2) == []


def test_swapped_items_are_neighbours():
    found = {swapped("It is (a b c).", "(a b c)", random.Random(seed))[0] for seed in range(20)}
    assert found == {"It is (b a c).", "It is (a c b)."}
    assert swapped("It is 7.", "7", random.Random(1)) == []


def test_bare_answers_are_named_by_the_record(records):
    assert bare_answer(records["sum"]) == "7"
    assert bare_answer(records["copy"]) == "red fox"
    assert bare_answer(records["secret"]) is None


def test_candidates_differ_and_name_their_origin(records):
    write = Candidates(list(records.values()))
    found = write.of(records["sum"], ["7", "9", "9"])
    assert found[0].origin == "reference"
    assert len({c.reply for c in found}) == len(found)
    origins = Counter(c.origin for c in found)
    assert origins["sampled"] == 2 and origins["declined"] == 1 and origins["wrong_number"] >= 1
    assert found == Candidates(list(records.values())).of(records["sum"], ["7", "9", "9"])
    assert any(c.origin == "told" and "4711" in c.reply for c in write.of(records["secret"]))


def test_pairs_agree_with_the_annotator(many_records):
    counts = Counter()
    pairs = label(many_records, ANNOTATOR, PairRules(per_domain=3), counts=counts)
    by_id = {record["messages"][-2]["content"]: record for record in many_records}
    for pair in pairs:
        record = by_id[pair.meta["question"]]
        better, worse = (ANNOTATOR.score(record, reply, pair.domain) for reply in (pair.chosen, pair.rejected))
        assert better - worse >= 0.15 - 1e-9
        assert pair.defect() is None
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


def test_the_same_seed_gives_the_same_pairs(many_records):
    assert label(many_records, ANNOTATOR, PairRules()) == label(many_records, ANNOTATOR, PairRules())
    assert label(many_records, ANNOTATOR, PairRules()) != label(many_records, ANNOTATOR, PairRules(seed=2))
