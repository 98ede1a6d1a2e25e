"""Accuracy on instructions whose answers a program can check: greedy answers in ChatML, per task and language."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from internlm2_core.evaluation.checks import is_right
from internlm2_core.evaluation.records import Record, check_turns, evenly, read_records
from internlm2_core.evaluation.subject import Subject
from internlm2_core.evaluation.task import Progress, Result
from internlm2_core.text import ChatFormat

CHUNK = 128
"""Prompts between two movements of the progress bar."""


class Instructions:
    """Asks every instruction of a file and checks the answers.

    Args:
        records: JSONL of ``id``, ``task``, ``language``, ``messages`` (the last one is the reference answer) and
            ``check`` (see `internlm2_core.evaluation.checks`).
        max_new_tokens: Of an answer.
        limit: Ask this many of each task in each language. None asks all.
    """

    kind: ClassVar[str] = "instructions"
    version: ClassVar[int] = 1

    def __init__(self, records: str, max_new_tokens: int = 64, limit: int | None = None) -> None:
        self.records, self.max_new_tokens, self.limit = records, max_new_tokens, limit

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Ask, check, count."""
        records = self._chosen()
        chat = ChatFormat(subject.tokenizer)
        samples: list[dict[str, Any]] = []
        for start in range(0, len(records), CHUNK):
            progress(start, len(records))
            chunk = records[start : start + CHUNK]
            prompts = [chat.prompt(record["messages"][:-1]) for record in chunk]
            answers = subject.greedy(prompts, self.max_new_tokens, ("<|im_end|>",))
            samples += [_sample(record, answer) for record, answer in zip(chunk, answers, strict=True)]
        progress(len(records), len(records))
        return Result(_figures(samples), samples)

    def _chosen(self) -> list[Record]:
        groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for record in read_records(self.records, ("id", "task", "language", "messages", "check")):
            # Before the first question: a mistake in the last record should not cost all answers.
            check_turns(record, self.records, least=2)
            is_right("", record["check"])
            groups[record["task"], record["language"]].append(record)
        # Like prompts have like lengths, so neighbours in a batch need little padding.
        return [record for key in sorted(groups) for record in evenly(groups[key], self.limit)]


def _sample(record: Record, answer: str) -> dict[str, Any]:
    return {
        "id": record["id"],
        "task": record["task"],
        "language": record["language"],
        "question": record["messages"][-2]["content"],
        "reference": record["messages"][-1]["content"],
        "answer": answer,
        "correct": is_right(answer, record["check"]),
    }


def _figures(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    tasks = {name: part | {"languages": _by(own, "language")} for name, part, own in _parts(samples, "task")}
    return _share(samples) | {"languages": _by(samples, "language"), "tasks": tasks}


def _share(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    right = sum(bool(sample["correct"]) for sample in samples)
    return {"accuracy": right / len(samples), "count": len(samples)}


def _parts(samples: Sequence[Mapping[str, Any]], key: str) -> list[tuple[str, dict[str, Any], list[Mapping[str, Any]]]]:
    values = sorted({sample[key] for sample in samples})
    groups = [(value, [sample for sample in samples if sample[key] == value]) for value in values]
    return [(value, _share(own), own) for value, own in groups]


def _by(samples: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    return {value: part for value, part, _ in _parts(samples, key)}
