"""Both paths of a round: what is asked, and the pairs that answers make of it."""

import json
import random
from collections import Counter

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


def test_limits_hold_for_each_pattern(replies, prompts, tmp_path):
    """The report's 20-100 pairs are those of one pattern (4.2.2), however many are named."""
    many = [Reply(reply.record, "late", "maths", f"Well, {reply.text[:-9]}", 2.0, 0.0) for reply in replies]
    two = [pattern(), pattern("prefix", "Well,")]
    asked = fast_comparisons(two, [*replies, *many], prompts, ANNOTATOR, least=5, most=10)
    assert Counter(each.meta["pattern"] for each in asked) == {"suffix:!!": 10, "prefix:Well,": 10}
    # The same pair of replies may show both. It is asked once, whichever comes first.
    both = [pattern(), pattern("phrase", "or")]
    asked = fast_comparisons(both, replies, prompts, ANNOTATOR, least=0)
    assert len(asked) == len({(str(each.prompt), frozenset(map(str, each.replies))) for each in asked}) == 24
    assert fast_comparisons([], replies, prompts, ANNOTATOR) == []


def test_the_clean_side_shows_no_other_named_pattern(prompts):
    """Or the pairs against one pattern would teach the next one."""
    found = []
    for name in prompts:
        found.append(Reply(name, "early", "maths", "Sure: 7", 3.0, 1.0))
        found.append(Reply(name, "early", "maths", "7", 0.0, 0.9))
        found.append(Reply(name, "late", "maths", "7!!", 2.0, 0.5))
    two = [pattern(), pattern("prefix", "Sure:")]
    alone, beside = (fast_comparisons(named, found, prompts, Shorter(), least=0) for named in (two[:1], two))
    assert {each.replies[each.meta["clean"]] for each in alone} == {"Sure: 7"}
    assert {each.replies[each.meta["clean"]] for each in beside} == {"7"}
    assert Counter(each.meta["pattern"] for each in beside) == {"suffix:!!": len(alone), "prefix:Sure:": len(alone)}


def test_what_an_annotator_scores_as_high_with_the_pattern_is_not_asked(prompts):
    """And of the worse ones the best is, so that pairs differ in little but the pattern."""
    found = []
    for name, prompt in prompts.items():
        right = str(prompt.record["check"]["value"])
        found += [Reply(name, "early", "maths", right, 0.0, 0.9)]
        found += [Reply(name, "late", "maths", f"{text}!!", 2.0, judged) for text, judged in (("x", 0.0), ("y", 0.5))]
        found += [Reply(name, "late", "maths", f"{right}!!", 2.0, 0.9)]
    asked = fast_comparisons([pattern()], found, prompts, ANNOTATOR, least=0)
    assert {each.replies[1 - each.meta["clean"]] for each in asked} == {"y!!"} and len(asked) > 20
    asked = fast_comparisons([pattern()], found[-1:] + found[:1], prompts, ANNOTATOR, least=0)
    assert asked == []


def test_all_forms_of_a_pattern_are_shown(prompts):
    """Not those alone that the reward model pays most for: it would still pay for the others."""
    found = []
    for name in prompts:
        found.append(Reply(name, "early", "maths", "7", 0.0, 1.0))
        found += [Reply(name, "late", "maths", "7" + "!" * size, float(size), 0.5) for size in (2, 3, 4)]
    asked = fast_comparisons([pattern(value="!")], found, prompts, ANNOTATOR, least=0)
    assert {each.replies[1 - each.meta["clean"]] for each in asked} == {"7!!", "7!!!", "7!!!!"}


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


def test_forms_of_other_policies_are_shown_too(prompts):
    """The late policy has settled on one. Without that one it would find the next."""
    forms, found = ["so it is", "we know", "count again", "all told", "that is that"], []
    for number, (name, prompt) in enumerate(prompts.items()):
        right = str(prompt.record["check"]["value"])
        found += [Reply(name, "sft", "maths", right, 0.0, 1.0)]
        found += [Reply(name, "late", "maths", f"{right} {forms[0]}!!", 2.0, 0.5)] * 4
        found += [Reply(name, "early", "maths", f"{right} {forms[number % 5]}!!", 1.0, 0.5)]
    asked = fast_comparisons([pattern()], found, prompts, ANNOTATOR, least=0)
    counts = Counter(each.replies[1 - each.meta["clean"]].partition(" ")[2] for each in asked)
    assert set(counts) == {f"{form}!!" for form in forms} and counts.most_common(1)[0][1] <= len(asked) / 3
    assert {tuple(each.meta["models"])[1 - each.meta["clean"]] for each in asked} == {"early", "late"}
