import random
from collections import Counter

from internlm2_align.miniature.candidates import WrittenCandidates, bare_answer, swapped, wrong_numbers


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
    write = WrittenCandidates(list(records.values()))
    found = write(records["sum"], ["7", "9", "9"])
    assert found[0].origin == "reference"
    assert len({c.reply for c in found}) == len(found)
    origins = Counter(c.origin for c in found)
    assert origins["sampled"] == 2 and origins["declined"] == 1 and origins["wrong_number"] >= 1
    assert found == WrittenCandidates(list(records.values()))(records["sum"], ["7", "9", "9"])
    assert any(c.origin == "told" and "4711" in c.reply for c in write(records["secret"]))
