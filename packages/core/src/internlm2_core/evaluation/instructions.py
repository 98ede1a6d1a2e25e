"""Accuracy on instructions whose answers a program can check: greedy answers in ChatML, per task and language."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from internlm2_records import Record, conversation_of

from internlm2_core.evaluation.checks import is_right
from internlm2_core.evaluation.records import evenly, placed_records
from internlm2_core.evaluation.subject import Subject
from internlm2_core.evaluation.task import Progress, Result
from internlm2_core.text import ChatFormat

CHUNK = 128
"""Prompts between two movements of the progress bar."""


class Instructions:
    """Asks every instruction of a file and checks the answers.

    Args:
        records: Records of ``id``, ``task``, ``language``, ``check`` (see `internlm2_core.evaluation.checks`) and a
            conversation whose last turn is the reference answer, in any form that `internlm2_records` reads.
        max_new_tokens: The most tokens of an answer.
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
        return Result(accuracies(samples), samples)

    def _chosen(self) -> list[dict[str, Any]]:
        groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        # Before the first question: a mistake in the last record should not cost all answers.
        for record in [placed.parse(instruction_of) for placed in placed_records(self.records)]:
            groups[record["task"], record["language"]].append(record)
        # Like prompts have like lengths, so neighbours in a batch need little padding.
        return [record for key in sorted(groups) for record in evenly(groups[key], self.limit)]


def instruction_of(record: Record) -> dict[str, Any]:
    """A record with its turns as messages.

    Raises:
        KeyError: If a part is missing.
        ValueError: If a part cannot be used.
    """
    about = {key: record[key] for key in ("id", "task", "language", "check")}
    is_right("", about["check"])
    turns = conversation_of(record)
    if len(turns) < 2:
        raise ValueError(f"messages={turns} must have a question and a reference answer.")
    return about | {"messages": turns}


def _sample(record: Mapping[str, Any], answer: str) -> dict[str, Any]:
    return {
        "id": record["id"],
        "task": record["task"],
        "language": record["language"],
        "question": record["messages"][-2]["content"],
        "reference": record["messages"][-1]["content"],
        "answer": answer,
        "correct": is_right(answer, record["check"]),
    }


def accuracies(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares of samples that are ``correct``: of all, by ``language`` and by ``task``."""
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
