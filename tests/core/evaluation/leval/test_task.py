import json
from pathlib import Path

import pytest
from internlm2_core.evaluation.leval import LEval
from internlm2_core.evaluation.leval.sets import FROM_DOCUMENT, questions_of
from internlm2_core.evaluation.leval.task import PromptWriter
from internlm2_core.text import ByteTokenizer


def write(file: Path, outputs: list[str], evaluation: str = "exam", words: int = 30) -> None:
    file.parent.mkdir(exist_ok=True)
    document = " ".join(f"w{number}" for number in range(words))
    asked = [f"Question {number}, {FROM_DOCUMENT}?" for number in range(len(outputs))]
    record = {"input": document, "instructions": asked, "outputs": outputs, "evaluation": evaluation}
    with file.open("a") as stream:
        stream.write(json.dumps(record) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "closed" / "coursera.jsonl", ["AC", "B"])
    write(tmp_path / "closed" / "sci_fi.jsonl", ["True [fact: False]"])
    write(tmp_path / "open" / "news_summ.jsonl", ["one two three four"], "rouge")
    write(tmp_path / "open" / "news_summ.jsonl", ["not scored", "nor this"], "LLM")
    write(tmp_path / "open" / "financial_qa.jsonl", ["ten dollars"], "f1")
    return tmp_path


def answer(prompt: str) -> str:
    if "real world" in prompt:
        return "false"
    if "True or False" in prompt:
        return "true"
    return "A" if "One option or several" in prompt else "one two three four"


def test_figures_by_hand(scripted, progress, fits_schema, folder: Path) -> None:
    task = LEval(str(folder), max_tokens=2_000, max_new_tokens=30)
    result = task.run(scripted(answer), progress)
    fits_schema(task, result.figures)
    sets = result.figures["sets"]
    assert sets["coursera"]["scores"] == {"exact_match": 0.125}
    assert sets["sci_fi"]["scores"] == {"exact_match": 1, "loyalty": 1, "fact": 1}
    assert sets["news_summ"]["scores"]["rougeL"] == 1 and sets["financial_qa"]["scores"] == {"f1": 0}
    assert [sets["news_summ"][name] for name in ("count", "for_judges", "not_asked", "cut")] == [1, 2, 0, 0]
    assert result.figures["means"] == {"exact_match": (0.125 + 1) / 2, "f1": 0, "rougeL": 1}
    assert len(result.samples) == 5
    sample = next(sample for sample in result.samples if sample["set"] == "news_summ")
    assert sample["prompts"] == [f"Document:\n{{document}}\n\nQuestion 0, {FROM_DOCUMENT}?\nAnswer in about 4 words."]
    world = next(sample for sample in result.samples if sample["set"] == "sci_fi")["prompts"][1]
    assert "document" not in world and "w1" not in world


def test_limits_are_counted(scripted, progress, folder: Path) -> None:
    task = LEval(str(folder), ["coursera"], max_tokens=300, max_new_tokens=20, limit=1)
    subject = scripted(answer)
    result = task.run(subject, progress)
    assert [result.figures["sets"]["coursera"][name] for name in ("count", "not_asked", "cut")] == [1, 1, 1]
    assert all(len(prompt) <= 280 for prompt in subject.engine.prompts)
    assert result.samples[0]["cut_tokens"] > 0


@pytest.mark.parametrize("is_chat", [False, True])
@pytest.mark.parametrize("keeps_end", [False, True])
def test_prompts_fill_the_room(is_chat: bool, keeps_end: bool) -> None:
    tokenizer, document = ByteTokenizer(), "".join(chr(97 + number % 26) for number in range(500))
    prompt = PromptWriter(tokenizer, 200, is_chat).write(document, "What?", keeps_end)
    assert len(prompt.ids) == 200
    kept = document[prompt.cut_tokens :] if keeps_end else document[: 500 - prompt.cut_tokens]
    assert f"Document:\n{kept}\n\nWhat?" in tokenizer.decode(prompt.ids)
    whole = PromptWriter(tokenizer, 900, is_chat).write(document, "What?")
    assert whole.cut_tokens == 0 and document in tokenizer.decode(whole.ids)
    with pytest.raises(ValueError, match="max_tokens=9 without the answer must be at least"):
        PromptWriter(tokenizer, 9, is_chat).write(document, "What?")


def test_mistakes(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must hold tpo\.jsonl or tpo\.jsonl\.gz"):
        LEval(str(folder), ["coursera", "tpo"])
    with pytest.raises(ValueError, match="folder=None must be a folder with the files of L-Eval"):
        LEval(None)
    write(folder / "sci_fi.jsonl", ["True"])
    with pytest.raises(ValueError, match=r"line 1: outputs='True' must be like 'True \[fact: False\]'"):
        questions_of(folder / "sci_fi.jsonl")
    (folder / "tpo.jsonl").write_text(
        '{"input": "x", "instructions": ["a", "b"], "outputs": ["A"], "evaluation": "exam"}\n'
    )
    with pytest.raises(ValueError, match="line 1: 2 instructions must be as many as 1 outputs"):
        questions_of(folder / "tpo.jsonl")


def test_published_data(real_data: Path) -> None:
    """Every question is asked, or counted as one for judges."""
    found = {
        name: questions_of(real_data / "eval/LEval" / f"{name}.jsonl.gz") for name in ("closed/tpo", "open/news_summ")
    }
    assert {name: (len(questions), judged) for name, (questions, judged) in found.items()} == {
        "closed/tpo": (269, 0),
        "open/news_summ": (11, 1),
    }
    for questions, _ in found.values():
        for question in questions:
            assert 1 - max(question.scored([question.reference])[1].values()) < 1e-9
