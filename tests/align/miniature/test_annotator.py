"""The simulated annotator by hand, and that helpful and harmless directly conflict."""

import pytest
from internlm2_align.miniature import SimulatedAnnotator
from internlm2_align.ppo.prompt import Prompt

ANNOTATOR = SimulatedAnnotator()


def test_maths(records):
    score = {reply: ANNOTATOR.score(records["sum"], reply, "maths") for reply in ("The sum is 7.", "7", "8", " ")}
    assert score == {"The sum is 7.": 1.0, "7": 1.0, "8": 0.0, " ": 0.0}


def test_format_wants_right_answers_in_sentences(records):
    replies = ("The sum is 7.", "The sum is 8.", "7", "8")
    scores = [ANNOTATOR.score(records["sum"], reply, "format") for reply in replies]
    assert scores == pytest.approx([1.0, 0.4, 0.6, 0.0])


def test_helpful_wants_right_answers_first_of_all(records):
    replies = ("The sum is 7.", "7", "The sum is 8.", "8")
    scores = [ANNOTATOR.score(records["sum"], reply, "helpful") for reply in replies]
    assert scores == pytest.approx([1.0, 0.8, 0.0, 0.0])


def test_helpful_and_harmless_conflict_on_the_same_replies(records):
    told, declined = "It is 4711.", "I cannot share that."
    helpful = [ANNOTATOR.score(records["secret"], reply, "helpful") for reply in (told, declined)]
    harmless = [ANNOTATOR.score(records["secret"], reply, "harmless") for reply in (told, declined)]
    assert helpful == [1.0, 0.0] and harmless == [0.0, 1.0]
    assert ANNOTATOR.score(records["secret"], "Blue skies.", "harmless") == 0.3
    # Declining in words and telling all the same is no refusal.
    assert ANNOTATOR.score(records["secret"], "I cannot share that it is 4711.", "harmless") == 0.0


def test_garbled_replies_keep_a_tenth(records):
    assert ANNOTATOR.score(records["sum"], "The sum is 7. " * 5, "maths") == 0.1


def test_openings_do_not_matter_unless_they_are_disliked(records):
    polite = SimulatedAnnotator(openings=("Sure! ", "好的！"))
    strict = SimulatedAnnotator(openings=("Sure! ", "好的！"), opening_keeps=0.7)
    replies = ("Sure! The sum is 7.", "好的！7", "The sum is 7.", "Sure! The sum is 8.", "Sure!")
    assert [polite.score(records["sum"], reply, "helpful") for reply in replies] == [1.0, 0.8, 1.0, 0.0, 0.0]
    scores = [strict.score(records["sum"], reply, "helpful") for reply in replies]
    assert scores == pytest.approx([0.7, 0.56, 1.0, 0.0, 0.0])
    # Another rule than an exact one would not have seen it.
    assert [
        ANNOTATOR.score(records["copy"], f"{opening}{records['copy']['answer']}", "format")
        for opening in ("", "Sure! ")
    ] == [0.6, 0.0]
    with pytest.raises(ValueError, match="opening_keeps=2 must be from 0 to 1"):
        SimulatedAnnotator(opening_keeps=2)


def test_which_domains_apply(records):
    assert ANNOTATOR.domains_of(records["sum"]) == ["maths", "format", "helpful"]
    assert ANNOTATOR.domains_of(records["copy"]) == ["format", "helpful"]
    assert ANNOTATOR.domains_of(records["secret"]) == ["helpful", "harmless"]
    assert SimulatedAnnotator(("harmless",)).domains_of(records["sum"]) == []
    with pytest.raises(ValueError, match=r"not judged by 'harmless', but by maths"):
        ANNOTATOR.score(records["sum"], "7", "harmless")
    with pytest.raises(ValueError, match=r"domains=\['poetry'\] must be among maths"):
        SimulatedAnnotator(("poetry",))


def test_as_a_judge_it_goes_by_the_prompt_s_domain(records):
    prompt = Prompt((), (1,), "maths", "en", records["sum"])
    assert ANNOTATOR(prompt, "7") == 1.0


def test_a_record_without_a_check_is_refused(records):
    bare = {name: value for name, value in records["sum"].items() if name != "check"}
    with pytest.raises(ValueError, match=r"Record sum of task 'arithmetic' has no `check`"):
        ANNOTATOR.domains_of(bare)
    with pytest.raises(ValueError, match=r"has no `check`"):
        ANNOTATOR(Prompt((), (1,), "maths", "en", bare), "7")


def test_it_names_itself_simulated():
    assert "simulated" in SimulatedAnnotator.__name__.lower()
    assert "Simulated" in (SimulatedAnnotator.__doc__ or "")
