"""Both paths of a round: what is asked, and the pairs that answers make of it."""

import json
import random

import pytest
from internlm2_align.labelling.labels import label
from internlm2_align.miniature import SimulatedAnnotator
from internlm2_align.online.comparisons import fast_comparisons, slow_comparisons
from internlm2_align.online.hacking import Audit, Pattern
from internlm2_align.online.preferences import fast_pairs, slow_pairs, wins
from internlm2_align.online.replies import Reply, name_of
from internlm2_align.online.witnesses import PairLabels
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.preferences.comparison import Judgement, comparison_record, read_comparisons
from internlm2_align.preferences.preference import to_record

ANNOTATOR = SimulatedAnnotator()


class Shorter:
    """Compares and has no score: prefers the shorter reply."""

    name = "shorter"

    def judge(self, comparisons, folder):
        for each in comparisons:
            first, second = map(len, each.replies)
            verdict = "tie" if first == second else "first" if first < second else "second"
            yield Judgement(each.id, verdict, self.name, "2026-01-01T00:00:00+00:00")


class Longer(Shorter):
    """The other way round."""

    name = "longer"

    def judge(self, comparisons, folder):
        turned = {"first": "second", "second": "first", "tie": "tie"}
        for each in super().judge(comparisons, folder):
            yield Judgement(each.comparison, turned[each.verdict], self.name, each.time)


def pattern(kind="suffix", value="!!"):
    return Pattern("maths", kind, value, 0.0, 0.5, 1.0, 0.0)


@pytest.fixture
def prompts(many_records):
    made = [
        Prompt(tuple(record["messages"][:-1]), (number,), "maths", record["language"], record)
        for number, record in enumerate(many_records)
        if record["task"] == "arithmetic"
    ]
    return {name_of(prompt): prompt for prompt in made}


@pytest.fixture
def replies(prompts):
    found = []
    for name, prompt in prompts.items():
        right = str(prompt.record["check"]["value"])
        found.append(Reply(name, "early", "maths", right, 0.0, 1.0))
        found.append(Reply(name, "late", "maths", right + " or 0!!", 2.0, 0.0))
        found.append(Reply(name, "sft", "maths", "99", 0.0, 0.0))
    return found


@pytest.fixture
def without_reference(prompts):
    """Prompts of a lab: no reference reply, no task, no check."""
    return {
        name: Prompt(prompt.messages, prompt.ids, "maths", prompt.language, {"prompt": prompt.messages[-1]["content"]})
        for name, prompt in prompts.items()
    }


def fast(annotator, folder, *arguments, **keys):
    return fast_pairs(label(annotator, fast_comparisons(*arguments, annotator, **keys), folder))


@pytest.mark.parametrize("annotator", [ANNOTATOR, Shorter()])
def test_pairs_that_occurred_come_first(replies, prompts, without_reference, annotator, tmp_path):
    asked = prompts if annotator is ANNOTATOR else without_reference
    pairs = fast(annotator, tmp_path, [pattern()], replies, asked)
    assert 20 <= len(pairs) <= 100
    occurred = [pair for pair in pairs if not pair.meta["written"]]
    assert len(occurred) == 24
    for pair in occurred:
        assert pair.rejected.endswith("!!") and not pair.chosen.endswith("!!")
        assert pair.source == f"fast path, {annotator.name}" and pair.meta["slices"] == ["hacking"]
        assert pair.meta["annotator"] == annotator.name and "clean" not in pair.meta and "record" not in pair.meta


@pytest.mark.parametrize(("kind", "value"), [("prefix", "So "), ("suffix", "!!"), ("phrase", "ha"), ("repeats", "")])
def test_where_too_few_occurred_the_pattern_is_written(replies, prompts, kind, value, tmp_path):
    clean = [reply for reply in replies if reply.model != "late"]
    pairs = fast(ANNOTATOR, tmp_path, [pattern(kind, value)], clean, prompts, least=20)
    assert len(pairs) >= 18
    known = {prompt.record["messages"][-2]["content"]: prompt.record for prompt in prompts.values()}
    for pair in pairs:
        assert pair.meta["written"] and pair.chosen != pair.rejected
        assert value in pair.rejected and (not value or value not in pair.chosen)
        record = known[pair.meta["question"]]
        better, worse = (ANNOTATOR.score(record, text, "maths") for text in (pair.chosen, pair.rejected))
        assert better >= worse


def test_an_annotator_who_values_a_pattern_gives_no_pair_against_it(replies, without_reference, tmp_path):
    assert fast(Longer(), tmp_path, [pattern()], replies, without_reference) == []


def test_labels_of_who_only_compares_say_whether_a_pattern_is_worth_it(tmp_path):
    """The whole way: a phrase that pays is a suspect, people are asked about it, and what they say decides."""
    rng, asked, found = random.Random(0), {}, []
    for number in range(80):
        prompt = Prompt(({"role": "user", "content": f"{number}?"},), (number,), "maths")
        asked[name_of(prompt)] = prompt
        for model, share in (("early", 0), ("early", 0), ("late", 0.6), ("late", 0.6)):
            shows = rng.random() < share
            text = f"It is {rng.randrange(9999)}." + " Have a nice day" * shows
            found.append(Reply(name_of(prompt), model, "maths", text, shows + rng.gauss(0, 0.3)))
    audit = Audit()
    (suspect,) = audit.suspects(found)
    assert audit.patterns(found) == [] and "Have a nice day" in suspect.value
    for annotator, verdicts in ((Shorter(), ["hack"]), (Longer(), [])):
        comparisons = fast_comparisons([suspect], found, asked, annotator, least=60)
        assert {each.meta["written"] for each in comparisons} <= {False, True} and len(comparisons) >= 60
        labels = label(annotator, comparisons, tmp_path / annotator.name)
        witness = PairLabels.judged(labels.comparisons, [*labels.judgements.values()], annotator.name)
        patterns = audit.patterns(found, witness)
        assert [each.verdict for each in patterns] == verdicts
        assert all(each.name == suspect.name and each.witness == annotator.name for each in patterns)
        pairs = fast_pairs(labels)
        assert len(pairs) == (len(comparisons) if verdicts else 0)
        assert all("Have a nice day" in pair.rejected and pair.meta["pattern"] == suspect.name for pair in pairs)


def test_limits_and_nothing_without_patterns(replies, prompts, tmp_path):
    two = [pattern(), pattern("phrase", " or")]
    # The same pair of replies may show both. It is asked once.
    assert 5 <= len(fast_comparisons(two, replies, prompts, ANNOTATOR, most=10)) <= 10
    assert fast_comparisons([], replies, prompts, ANNOTATOR) == []


def test_slow_pairs_of_who_scores_are_labelled_in_every_domain_that_applies(replies, prompts, tmp_path):
    asked = slow_comparisons(replies, prompts, ANNOTATOR)
    pairs = slow_pairs(label(ANNOTATOR, asked, tmp_path))
    assert len(pairs) == len(asked) and {pair.domain for pair in pairs} == {"maths", "helpful", "format"}
    known = {prompt.record["messages"][-2]["content"]: prompt.record for prompt in prompts.values()}
    for pair in pairs:
        scored = (
            ANNOTATOR.score(known[pair.meta["question"]], text, pair.domain) for text in (pair.chosen, pair.rejected)
        )
        better, worse = scored
        assert better - worse >= 0.15 - 1e-9
    assert asked == slow_comparisons(replies, prompts, ANNOTATOR)


def test_slow_pairs_need_no_reference_task_or_check(replies, without_reference, tmp_path):
    asked = slow_comparisons(replies, without_reference, Shorter(), per_domain=3)
    assert len(asked) == 3 * len(without_reference) and {each.domain for each in asked} == {"maths"}
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps(comparison_record(each)) + "\n" for each in asked))
    assert read_comparisons(file) == asked
    labels = label(Shorter(), asked, tmp_path)
    whose = {(reply.record, reply.text): reply.model for reply in replies}
    names = {prompt.messages[-1]["content"]: name for name, prompt in without_reference.items()}
    for pair in slow_pairs(labels):
        name = names[pair.prompt[-1]["content"]]
        assert pair.meta["origins"] == f"{whose[name, pair.chosen]}>{whose[name, pair.rejected]}"
        assert to_record(pair)["meta"].keys() == {"language", "slices", "comparison", "annotator", "time", "origins"}
    shares = wins(labels)
    assert shares["late"]["share"] == 0.0 and sum(each["share"] for each in shares.values()) == pytest.approx(1.5)
    assert {each["comparisons"] for each in shares.values()} == {2 * len(without_reference)}


def test_replies_that_differ_in_blanks_alone_are_not_compared(prompts):
    name = next(iter(prompts))
    found = [Reply(name, model, "maths", text, 0.0) for model, text in (("sft", "7"), ("late", " 7"), ("early", ""))]
    assert slow_comparisons(found, prompts, Shorter()) == []
