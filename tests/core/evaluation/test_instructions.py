import json
from pathlib import Path

import pytest
from internlm2_core.evaluation import Instructions


def write(path: Path, records: list[dict]) -> str:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return str(path)


def record(number: int, task: str, language: str, question: str, value: int) -> dict:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": str(value)}]
    check = {"kind": "number", "value": value}
    return {"id": str(number), "task": task, "language": language, "messages": messages, "check": check}


RECORDS = [record(i, "add", "en", f"{i} + 1?", i + 1) for i in range(6)] + [
    record(10 + i, "minus", "zh", f"{i}减1？", i - 1) for i in range(4)
]


def answer(prompt: str) -> str:
    """Adds right, subtracts wrong."""
    digit = int(prompt.split("user\n")[1][0])
    assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
    return f"It is {digit + 1}."


def test_accuracy_by_task_and_language(tmp_path: Path, scripted, progress) -> None:
    path = write(tmp_path / "a.jsonl", RECORDS)
    result = Instructions(path, max_new_tokens=20).run(scripted(answer), progress)
    assert result.figures == {
        "accuracy": 0.6,
        "count": 10,
        "languages": {"en": {"accuracy": 1, "count": 6}, "zh": {"accuracy": 0, "count": 4}},
        "tasks": {
            "add": {"accuracy": 1, "count": 6, "languages": {"en": {"accuracy": 1, "count": 6}}},
            "minus": {"accuracy": 0, "count": 4, "languages": {"zh": {"accuracy": 0, "count": 4}}},
        },
    }
    assert result.samples[0] == {
        "id": "0", "task": "add", "language": "en", "question": "0 + 1?", "reference": "1", "answer": "It is 1.",
        "correct": True,
    }  # fmt: skip


def test_limit_is_of_each_task_and_language(tmp_path: Path, scripted, progress) -> None:
    path = write(tmp_path / "a.jsonl", RECORDS)
    result = Instructions(path, 20, limit=2).run(scripted(answer), progress)
    assert [sample["id"] for sample in result.samples] == ["0", "3", "10", "12"]


def test_turns_of_others_are_asked_alike(tmp_path: Path, scripted, progress) -> None:
    theirs = [{"from": "human", "value": "3 + 1?"}, {"from": "gpt", "value": "4"}]
    foreign = {**RECORDS[3], "conversations": theirs}
    del foreign["messages"]
    own, other = (
        Instructions(write(tmp_path / f"{name}.jsonl", [record])).run(scripted(answer), progress)
        for name, record in (("own", RECORDS[3]), ("other", foreign))
    )
    assert own.samples == other.samples and own.samples[0]["correct"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"messages": [{"role": "assistant", "content": "7"}]},
            "line 11: messages=.* must have a question and a reference answer",
        ),
        ({"messages": [{"said": "?"}] * 2}, "line 11: turn 1: role=None must be one of system, user"),
        ({"messages": [{"role": "user", "content": None}] * 2}, "line 11: turn 1: content=None must be a text"),
        ({"check": {"kind": "exact", "accept": "7"}}, "line 11: check=.* accept must be a list of texts"),
    ],
)
def test_a_bad_record_is_named_before_the_first_question(
    tmp_path: Path, scripted, progress, change: dict, words: str
) -> None:
    def never(prompt: str) -> str:
        raise AssertionError(prompt)

    path = write(tmp_path / "a.jsonl", [*RECORDS, record(8, "add", "en", "8 + 1?", 9) | change])
    with pytest.raises(ValueError, match=words):
        Instructions(path).run(scripted(never), progress)


def test_broken_files_are_named(tmp_path: Path, scripted, progress) -> None:
    subject = scripted(answer)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Instructions(str(tmp_path / "nowhere")).run(subject, progress)
    (tmp_path / "bad.jsonl").write_text('{"id": "1"}\n')
    with pytest.raises(ValueError, match="line 1 lacks 'task'"):
        Instructions(str(tmp_path / "bad.jsonl")).run(subject, progress)
    (tmp_path / "bad.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match="line 1 is broken JSON"):
        Instructions(str(tmp_path / "bad.jsonl")).run(subject, progress)
    (tmp_path / "bad.jsonl").write_text("")
    with pytest.raises(ValueError, match="is empty"):
        Instructions(str(tmp_path / "bad.jsonl")).run(subject, progress)
