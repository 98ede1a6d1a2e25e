import pytest
from internlm2_align.miniature import SimulatedAnnotator
from internlm2_align.online.hacking import Pattern
from internlm2_align.online.preferences import fast_pairs, slow_pairs
from internlm2_align.online.replies import Reply

ANNOTATOR = SimulatedAnnotator()


def pattern(kind="suffix", value="!!"):
    return Pattern("maths", kind, value, 0.0, 0.5, 1.0, -0.2)


@pytest.fixture
def known(many_records):
    return {record["id"]: record for record in many_records}


@pytest.fixture
def replies(known):
    found = []
    for name, record in known.items():
        if record["task"] == "arithmetic":
            right = str(record["check"]["value"])
            found.append(Reply(name, "early", "maths", right, 0.0, 1.0))
            found.append(Reply(name, "late", "maths", right + " or 0!!", 2.0, 0.0))
            found.append(Reply(name, "sft", "maths", "99", 0.0, 0.0))
    return found


def test_pairs_that_occurred_come_first(replies, known):
    pairs = fast_pairs([pattern()], replies, known, ANNOTATOR)
    assert 20 <= len(pairs) <= 100
    occurred = [pair for pair in pairs if not pair.meta["written"]]
    assert len(occurred) == 24
    for pair in occurred:
        assert pair.rejected.endswith("!!") and not pair.chosen.endswith("!!")
        assert "simulated" in pair.source and pair.meta["slices"] == ["hacking"]


@pytest.mark.parametrize(("kind", "value"), [("prefix", "So "), ("suffix", "!!"), ("phrase", "ha"), ("repeats", "")])
def test_where_too_few_occurred_the_pattern_is_written(known, kind, value):
    pairs = fast_pairs([pattern(kind, value)], [], known, ANNOTATOR, least=20)
    assert len(pairs) >= 20
    for pair in pairs:
        assert pair.meta["written"] and pair.chosen != pair.rejected
        assert value in pair.rejected
        record = next(r for r in known.values() if r["messages"][-2]["content"] == pair.meta["question"])
        better, worse = (ANNOTATOR.score(record, text, "maths") for text in (pair.chosen, pair.rejected))
        assert better >= worse


def test_limits_and_nothing_without_patterns(replies, known):
    two = [pattern(), pattern("phrase", " or")]
    assert len(fast_pairs(two, replies, known, ANNOTATOR, most=10)) == 10
    assert fast_pairs([], replies, known, ANNOTATOR) == []


def test_slow_pairs_are_labelled_in_every_domain_that_applies(replies, known):
    pairs = slow_pairs(replies, known, ANNOTATOR)
    assert {pair.domain for pair in pairs} == {"maths", "helpful", "format"}
    for pair in pairs:
        record = next(r for r in known.values() if r["messages"][-2]["content"] == pair.meta["question"])
        better, worse = (ANNOTATOR.score(record, text, pair.domain) for text in (pair.chosen, pair.rejected))
        assert better - worse >= 0.15 - 1e-9
    assert pairs == slow_pairs(replies, known, ANNOTATOR)
