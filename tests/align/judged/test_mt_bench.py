"""MT-Bench: FastChat's prompts and rules, against a judge of the test's own."""

import json
import re

import pytest
from internlm2_align.judged import MTBench, MTBenchPairs
from internlm2_align.judged.answers import FileAnswers, ModelAnswers
from internlm2_align.judged.mt_bench import agreed, filled, rating_in, winner_in
from internlm2_core.evaluation import Subject
from internlm2_core.generation import LocalEngine


def ignore(done, total):
    assert 0 < done <= total


def questions():
    return [
        {"question_id": 1, "category": "writing", "turns": ["Write {a}.", "Shorter."]},
        {"question_id": 2, "category": "zh_math", "turns": ["1+1?", "+1?"]},
        {"question_id": 3, "category": "math", "turns": ["2+2?", "+2?"]},
    ]


def answer(name, first, second):
    return {"question_id": name, "model_id": "m", "choices": [{"index": 0, "turns": [first, second]}]}


PROMPTS = {
    "single-v1": "S|{question}|{answer}",
    "single-math-v1": "SM|{question}|{ref_answer_1}|{answer}",
    "single-v1-multi-turn": "S2|{question_1}|{answer_1}|{question_2}|{answer_2}",
    "single-math-v1-multi-turn": "SM2|{ref_answer_1}|{ref_answer_2}|{answer_1}|{answer_2}",
    "pair-v2": "P|{question}|{answer_a}|{answer_b}",
    "pair-math-v1": "PM|{ref_answer_1}|{answer_a}|{answer_b}",
    "pair-v2-multi-turn": "P2|{answer_a_1}|{answer_a_2}|{answer_b_1}|{answer_b_2}",
    "pair-math-v1-multi-turn": "PM2|{ref_answer_2}|{answer_a_2}|{answer_b_2}",
}


@pytest.fixture
def settings(write, tmp_path, make_judge):
    prompts = [{"name": name, "system_prompt": "judge", "prompt_template": text} for name, text in PROMPTS.items()]
    return {
        "questions": write("question.jsonl", *questions()),
        "prompts": write("judge_prompts.jsonl", *prompts),
        "references": write("reference.jsonl", answer(3, "4", "6")),
        "judge": make_judge(),
        "answers": FileAnswers(write("ours.jsonl", *[answer(n, f"{n} good", f"{n} poor {{b}}") for n in (1, 2, 3)])),
        "folder": tmp_path / "judged",
    }


def test_each_turn_is_rated_by_the_prompt_of_its_category(endpoint, settings):
    endpoint.answer = lambda text: (
        "no idea" if text.startswith("S2|1+1?") else f"[[{8 if 'poor' not in text else 3}]] [[1]]"
    )
    result = MTBench(**settings).run(None, ignore)
    sent = sorted(body["messages"][-1]["content"] for body in endpoint.requests)
    assert sent == sorted([
        "S|Write {a}.|1 good", "S2|Write {a}.|1 good|Shorter.|1 poor {b}", "S|1+1?|2 good",
        "S2|1+1?|2 good|+1?|2 poor {b}", "SM|2+2?|4|3 good", "SM2|4|6|3 good|3 poor {b}",
    ])  # fmt: skip
    assert endpoint.requests[0]["messages"][0] == {"role": "system", "content": "judge"}
    figures = result.figures
    assert figures["score"] == pytest.approx((8 * 3 + 3 * 2) / 5)
    assert (figures["first_turn"], figures["second_turn"]) == (8, 3)
    assert figures["categories"] == {"math": 5.5, "writing": 5.5, "zh_math": 8}
    assert (figures["requests"], figures["judged"], figures["failed"]) == (6, 5, {"no_verdict": 1})
    assert figures["without_reference"] == 1  # zh_math has none
    assert result.samples[0]["rating"] == 8 and result.samples[3]["said"] == "no idea"


def test_pairs_are_shown_in_both_orders_and_must_agree(endpoint, settings, write):
    theirs = write("theirs.jsonl", *[answer(n, f"{n} fair", f"{n} fair") for n in (1, 2, 3)])

    def judge(text):
        if text.startswith("P|1+1?"):
            return "[[A]]"  # whatever comes first
        a, b = text.split("|")[-2:] if not text.startswith("P2") else text.split("|")[2::2]
        if "good" in a + b:
            return "[[A]]" if "good" in a else "[[B]]"
        return "[[B]]" if "poor" in a else "[[A]]"

    endpoint.answer = judge
    result = MTBenchPairs(against=theirs, **settings).run(None, ignore)
    assert [one["verdict"] for one in result.samples] == ["model", "other", "tie", "other", "model", "other"]
    figures = result.figures
    assert (figures["won"], figures["lost"], figures["tied"], figures["inconsistent"]) == (2, 3, 1, 1)
    assert figures["score"] == pytest.approx(2.5 / 6) and figures["requests"] == 12


def test_ratings_and_winners_are_read_as_fastchat_reads_them():
    assert rating_in("Rating: [[7.5]] or [[2]]") == 7.5
    assert rating_in("Rating: [6]") == 6 and rating_in("7/10") is None
    assert winner_in("[[A]]", False) == "model" and winner_in("[[A]]", True) == "other"
    assert winner_in("[[C]]", True) == "tie" and winner_in("A", False) is None
    assert agreed(["model", "model"]) == "model" and agreed(["model", "tie"]) == "tie" and agreed(["tie", None]) is None
    with pytest.raises(ValueError, match=r"wants \{other\}\. Known are question"):
        filled("{other}", {"question": "q"})


def test_published_files_are_asked_as_they_are(real_data, settings, endpoint, tmp_path, write):
    folder = real_data / "eval" / "mt_bench"
    records = [json.loads(line) for line in (folder / "question.jsonl").read_text().splitlines()]
    ours = write("all.jsonl", *[answer(each["question_id"], "first", "second") for each in records])
    published = {"questions": folder / "question.jsonl", "prompts": folder / "judge_prompts.jsonl"}
    published |= {"references": folder / "reference_gpt-4.jsonl", "answers": FileAnswers(ours)}
    result = MTBench(**settings | published).run(None, ignore)
    assert result.figures["requests"] == 160 and result.figures["score"] == 5 and len(result.samples) == 160
    assert result.figures["without_reference"] == 0
    assert not any(re.search(r"\{(question|answer|ref_answer)\w*\}", str(body)) for body in endpoint.requests)


def test_a_model_answers_turn_by_turn_and_once(language_model, tokenizer, settings, tmp_path, monkeypatch):
    subject = Subject(language_model.eval(), tokenizer, LocalEngine(language_model))
    (tmp_path / "model").mkdir()
    settings["answers"] = ModelAnswers(tmp_path / "answers", str(tmp_path / "model"), max_new_tokens=4)
    first = MTBench(**settings).run(subject, ignore)
    monkeypatch.setattr(LocalEngine, "generate", lambda *_: pytest.fail("asked again"))
    assert MTBench(**settings).run(subject, ignore) == first
    with pytest.raises(ValueError, match="checkpoint=None must be a model folder"):
        ModelAnswers(tmp_path, None).of([], None)


def test_an_answer_that_is_missing_is_named(settings, write):
    settings["answers"] = FileAnswers(write("few.jsonl", answer(1, "a", "b")))
    with pytest.raises(ValueError, match=r"few\.jsonl holds no answer to all 2 turns of 2"):
        MTBench(**settings).run(None, ignore)
