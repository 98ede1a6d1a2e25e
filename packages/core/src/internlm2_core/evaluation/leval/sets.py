"""The sets of L-Eval: how each is asked, and how its answers are scored."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from internlm2_records import Record, read_records

from internlm2_core.evaluation.leval import reading
from internlm2_core.evaluation.leval.scoring import exact_match, rouge, word_f1

METRICS = {"exam": "exact_match", "f1": "f1", "rouge": "rouge"}
"""Metric by the ``evaluation`` of a record. Records of other kinds are judged by people or models, and left out."""

FROM_DOCUMENT, FROM_WORLD = "based on the world described in the document", "based on what is known of the real world"
LETTERS = "Answer with the letter of the right option and nothing else."


@dataclass(frozen=True)
class Closed:
    """How a closed set is asked and its answers are read.

    Attributes:
        read: What counts of an answer, given answer and reference.
        reference: What counts of the reference answer.
        instruction: What the model is told beside the question.
    """

    read: Callable[[str, str], str]
    reference: Callable[[str], str]
    instruction: str = "Answer in as few words as possible."


CLOSED = {
    "coursera": Closed(
        lambda answer, _: reading.several_options(answer),
        reading.options_of_reference,
        "One option or several are right. Answer with their letters, such as A or BD, and nothing else.",
    ),
    "quality": Closed(lambda answer, _: reading.single_option(answer), reading.options_of_reference, LETTERS),
    "tpo": Closed(lambda answer, _: reading.single_option(answer), reading.options_of_reference, LETTERS),
    "gsm100": Closed(
        lambda answer, _: reading.whole_number(answer),
        reading.whole_number,
        "Answer the last question in the way of those before it. End with: The answer is",
    ),
    "codeU": Closed(reading.printed_in, reading.printed, "Read the code and its comments, and say what it prints."),
}
OTHER = Closed(lambda answer, _: answer, lambda text: text)
"""A closed set without a rule of its own, such as ``topic_retrieval_longchat``: the reference must occur."""


@dataclass(frozen=True)
class Question:
    """One question about a document.

    Attributes:
        group: Name of its set.
        id: Set, record and question, counted from 0.
        document: The long text.
        instruction: What is asked.
        reference: The right answer.
        metric: ``exact_match``, ``f1`` or ``rouge``.
    """

    group: str
    id: str
    document: str
    instruction: str
    reference: str
    metric: str

    @property
    def is_judgement(self) -> bool:
        """Whether it is asked twice: what the document says, and what is true of the real world (``sci_fi``)."""
        return self.group == "sci_fi"

    @property
    def keeps_end(self) -> bool:
        """Whether the beginning of a document that is too long is cut off, and not its end."""
        return self.group == "codeU"

    def asked(self) -> list[tuple[str, str]]:
        """Document and instruction of each prompt. Open ones are told the length of the reference, in words."""
        if self.is_judgement:
            hint = "Answer with True or False alone."
            about_world = self.instruction.replace(FROM_DOCUMENT, FROM_WORLD)
            return [(self.document, f"{self.instruction} {hint}"), ("", f"{about_world} {hint}")]
        if self.metric == "exact_match":
            return [(self.document, f"{self.instruction}\n{CLOSED.get(self.group, OTHER).instruction}")]
        return [(self.document, f"{self.instruction}\nAnswer in about {len(self.reference.split())} words.")]

    def scored(self, answers: list[str]) -> tuple[str, dict[str, float]]:
        """What was read of the answers, and scores from 0 to 1.

        Args:
            answers: One for each prompt of `asked`.
        """
        if self.is_judgement:
            found = [reading.true_or_false(answer) for answer in answers]
            wanted = [part.strip().rstrip("]") for part in self.reference.lower().split("[fact:")]
            document, world = (exact_match(*pair) for pair in zip(found, wanted, strict=True))
            return ", ".join(found), {"exact_match": (document + world) / 2, "loyalty": document, "fact": world}
        [answer] = answers
        if self.metric == "exact_match":
            rule = CLOSED.get(self.group, OTHER)
            read = rule.read(answer, self.reference)
            return read, {"exact_match": exact_match(read, rule.reference(self.reference))}
        return answer, {"f1": word_f1(answer, self.reference)} if self.metric == "f1" else rouge(answer, self.reference)


def questions_of(file: Path) -> tuple[list[Question], int]:
    """The questions of a set, and how many are left out since people or models must judge them.

    Args:
        file: ``NAME.jsonl`` or ``NAME.jsonl.gz``, where ``NAME`` is that of the set.

    Raises:
        ValueError: If a record cannot be used.
    """
    name = file.name.partition(".")[0]
    read = [placed.parse(partial(asked_in, name, number)) for number, placed in enumerate(read_records(file))]
    return [question for questions, _ in read for question in questions], sum(judged for _, judged in read)


def asked_in(name: str, number: int, record: Record) -> tuple[list[Question], int]:
    """The questions of one record, and how many are left out.

    Args:
        name: Name of the set.
        number: Which record it is, counted from 0.
        record: ``input``, ``instructions``, ``outputs`` and ``evaluation``.

    Raises:
        KeyError: If a part is missing.
        ValueError: If instructions and outputs are not lists of as many texts.
    """
    asked, outputs, evaluation = record["instructions"], record["outputs"], record["evaluation"]
    for key, texts in (("instructions", asked), ("outputs", outputs), ("input", [record["input"]])):
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError(f"{key} must hold texts.")
    if len(asked) != len(outputs):
        raise ValueError(f"{len(asked)} instructions must be as many as {len(outputs)} outputs.")
    if evaluation not in METRICS:
        return [], len(asked)
    questions = [
        Question(name, f"{name}/{number}/{place}", record["input"], instruction, output, METRICS[evaluation])
        for place, (instruction, output) in enumerate(zip(asked, outputs, strict=True))
    ]
    for question in questions:
        if question.is_judgement and question.reference.lower().count("[fact:") != 1:
            raise ValueError(f"outputs={question.reference!r} must be like 'True [fact: False]'.")
    return questions, 0
