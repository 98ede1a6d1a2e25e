from collections import Counter

import pytest
from internlm2_align.preferences.preference import Preference
from internlm2_align.preferences.questions import Questions
from internlm2_align.preferences.splits import deduplicated, question_of, split_by_question, without_questions


def pair(words, chosen="a", rejected="b", domain="maths", **meta):
    return Preference(domain, ({"role": "user", "content": words},), chosen, rejected, meta=meta)


def test_no_question_is_on_both_sides():
    pairs = [pair(f"q{i % 300}", chosen=str(i)) for i in range(900)]
    training, held = split_by_question(pairs, 0.2)
    assert not {p.prompt[0]["content"] for p in training} & {p.prompt[0]["content"] for p in held}
    assert len(training) + len(held) == 900
    assert 0.1 < len(held) / 900 < 0.3
    assert split_by_question(pairs[::-1], 0.2)[1] == held[::-1]
    assert split_by_question(pairs, 0.2, seed=1)[1] != held
    with pytest.raises(ValueError, match="heldout_share"):
        split_by_question(pairs, 1.0)


def test_a_named_question_goes_before_the_prompt_s_words():
    named = pair("in other words", question="q")
    assert question_of(named, Questions([named.prompt])) == ("q",)
    counts = Counter()
    kept = list(without_questions([pair("x"), pair("other", question="x"), pair("y")], [pair("x")], counts))
    assert kept == [pair("y")] and counts == {"question_is_held_out": 2}


def test_pairs_that_name_their_question_are_compared_with_those_that_do_not():
    counts = Counter()
    held = [pair("x", question="q1"), pair("y")]
    others = [pair("X "), pair("z", question="Q1"), pair("z", question="y"), pair("y", question="q2")]
    assert list(without_questions(others, held, counts)) == [] and counts == {"question_is_held_out": 4}
    # Both name theirs: "solve this" is no question.
    kept = [pair("x", question="q2")]
    assert list(without_questions(kept, held, counts)) == kept


@pytest.mark.parametrize("other", ["2+2? ", " 2+2?\n", "２+2？"])
def test_blanks_capitals_and_widths_do_not_tell_questions_apart(other):
    assert list(without_questions([pair(f"What is {other}")], [pair("what  is 2+2?")], Counter())) == []


def test_a_dialogue_cut_at_several_depths_is_on_one_side():
    def dialogue(name, depth):
        turns = [
            {"role": role, "content": f"{name} {i} {role}"} for i in range(depth) for role in ("user", "assistant")
        ]
        return Preference("helpful", tuple(turns[:-1]), turns[-1]["content"], "no")

    pairs = [dialogue(f"talk {name}", depth) for name in range(60) for depth in (1, 2, 3)]
    training, held = split_by_question(pairs, 0.3)
    prompts = {turn["content"] for p in training for turn in p.prompt}
    assert held and not {p.chosen for p in held} & prompts


def test_duplicates_and_contradictions_are_counted():
    counts = Counter()
    pairs = [pair("q"), pair("q"), pair("q", "b", "a"), pair("q", "b", "a", domain="format"), pair("q", "c", "c")]
    assert list(deduplicated(pairs, counts)) == [pairs[0], pairs[3], pairs[4]]
    assert counts == {"duplicate": 1, "contradicting": 1}


def greeted(number, words="Good morning", meta=None):
    turns = [(words, "user"), ("How can I help?", "assistant"), (f"What is {number}+1?", "user")]
    prompt = tuple({"role": role, "content": content} for content, role in turns)
    return Preference("helpful", prompt, str(number + 1), str(number), meta=meta or {})


def test_dialogues_that_begin_with_the_same_greeting_are_told_apart_by_what_follows():
    pairs = [greeted(number) for number in range(200) for _ in range(2)]
    for seed in range(5):
        training, held = split_by_question(pairs, 0.2, seed)
        assert 40 <= len(held) <= 120
        assert not {p.prompt[2]["content"] for p in training} & {p.prompt[2]["content"] for p in held}
        counts = Counter()
        assert list(without_questions(training, held, counts)) == training and not counts
    # Named held-out dialogues take their own question out of training, and no other.
    counts = Counter()
    kept = list(without_questions(pairs, [greeted(3, "GOOD  morning")], counts))
    assert len(kept) == 398 and counts == {"question_is_held_out": 2}


def test_two_greetings_after_one_another():
    hello = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi!"}]
    prompts = [
        (*hello, {"role": "user", "content": f"I am {name}"}, {"role": "assistant", "content": "Yes?"},
         {"role": "user", "content": f"{name} {number}"})
        for name in range(9) for number in range(9)
    ]  # fmt: skip
    questions = Questions(prompts)
    assert len({questions.of(prompt) for prompt in prompts}) == 81
    # Few ways to continue: the first turn is the question.
    assert len({Questions(prompts[:7]).of(prompt) for prompt in prompts[:7]}) == 1
