r"""Problems that a model solves with a Python interpreter at hand.

============================  ====================================================================================
record                        read as
============================  ====================================================================================
``steps``                     our own: several questions in one conversation and one interpreter, as in CIBench
``question``, ``answer``      GSM8K: the number after ``####`` of the answer
``problem``, ``answer``       MATH: the answer as LaTeX, which the reply puts into ``\boxed{}``
``messages``, ``check``       an instruction (see `internlm2_core.evaluation.Instructions`)
============================  ====================================================================================

A step has a ``question``, a ``check`` (see `internlm2_core.evaluation.checks`) or none, and ``of``: ``answer``, or
``output`` where the check is of what the step's last program printed. ``files`` are texts by name, which programs find
in their folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from internlm2_records import Record

from internlm2_core.evaluation.checks import is_right
from internlm2_core.evaluation.instructions import instruction_of

Of = Literal["answer", "output"]


@dataclass(frozen=True)
class Step:
    """One question.

    Attributes:
        question: What is asked.
        check: When it is right. None where nothing but running is asked for.
        of: What is checked.
    """

    question: str
    check: Mapping[str, Any] | None
    of: Of = "answer"


@dataclass(frozen=True)
class Problem:
    """Questions in one conversation.

    Attributes:
        id: Names it.
        task: Its group in the figures.
        language: The same.
        steps: The questions in order.
        files: Texts by name, for its programs.
    """

    id: str
    task: str
    language: str
    steps: tuple[Step, ...]
    files: Mapping[str, str]


def problem_of(record: Record) -> Problem:
    """A record of one of the forms above.

    Raises:
        KeyError: If a part is missing.
        ValueError: If no form fits, or a part cannot be used.
    """
    if "steps" in record:
        return _own(record)
    if "question" in record:
        _, found, value = record["answer"].partition("####")
        if not found:
            raise ValueError(f"answer={record['answer']!r} must end with #### and a number.")
        return _of_one_step(record, "gsm8k", record["question"], {"kind": "number", "value": value.strip()})
    if "problem" in record:
        task = str(record.get("subject", "math"))
        return _of_one_step(record, task, record["problem"], {"kind": "boxed", "value": record["answer"]})
    if "messages" not in record:
        raise ValueError(f"keys={sorted(record)} must hold one of steps, question, problem, messages.")
    found = instruction_of(record)
    if len(found["messages"]) != 2:
        raise ValueError(f"messages={found['messages']} must be one question and its reference answer.")
    return _of_one_step(record, found["task"], found["messages"][0]["content"], found["check"])


def _of_one_step(record: Record, task: str, question: str, check: Mapping[str, Any]) -> Problem:
    is_right("", check)
    name = str(record.get("id") or record.get("unique_id") or "")
    language = str(record.get("language", "en"))
    return Problem(name, task, language, (Step(question, check),), _files(record))


def _own(record: Record) -> Problem:
    steps = []
    for number, step in enumerate(record["steps"], 1):
        check, of = step.get("check"), step.get("of", "answer")
        if of not in get_args(Of):
            raise ValueError(f"step {number}: of={of!r} must be one of {', '.join(get_args(Of))}.")
        if check is not None:
            is_right("", check)
        steps.append(Step(step["question"], check, of))
    if not any(step.check for step in steps):
        raise ValueError("steps must have one with a check, or nothing of them can be right.")
    return Problem(str(record["id"]), record["task"], record["language"], tuple(steps), _files(record))


def _files(record: Record) -> Mapping[str, str]:
    files = record.get("files") or {}
    if not isinstance(files, Mapping) or not all(isinstance(text, str) for text in files.values()):
        raise ValueError(f"files={files!r} must be texts by name.")
    return files
