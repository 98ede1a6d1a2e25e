"""Answers that are to be judged: from a file, or from the model under evaluation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internlm2_core.evaluation.subject import Subject
from internlm2_core.generation import Sampling
from internlm2_core.text import ChatFormat
from internlm2_records import Message, read_objects

from internlm2_align.kept import Kept, files_of, key_of

CHUNK = 64
"""Conversations between two writes."""


@dataclass(frozen=True)
class Asked:
    """What a model is asked.

    Attributes:
        id: Name of the question.
        turns: What the user says, one after the other. Each is asked after the answer to the one before.
        temperature: Of the sampling. 0 is greedy.
    """

    id: str
    turns: Sequence[str]
    temperature: float = 0.0


class FileAnswers:
    """Answers of any model from a file.

    Args:
        path: Records with ``question_id``, or ``instruction``, the question itself. The answer is ``choices[0].turns``,
            as FastChat writes it, or ``output`` or ``answer``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def of(self, questions: Sequence[Asked], subject: Subject | None) -> dict[str, list[str]]:
        """Answers by id of the question, one for each turn.

        Args:
            questions: What was asked.
            subject: Not used.

        Raises:
            ValueError: If a question has no answer, or too few turns.
        """
        found: dict[str, list[str]] = {}
        for record in read_objects(self.path):
            found[str(record.get("question_id", record.get("instruction")))] = turns_of_answer(record)
        answers = {}
        for question in questions:
            own = found.get(question.id, found.get(question.turns[0]))
            if own is None or len(own) < len(question.turns):
                raise ValueError(f"{self.path} holds no answer to all {len(question.turns)} turns of {question.id}.")
            answers[question.id] = own
        return answers


def turns_of_answer(record: Mapping[str, Any]) -> list[str]:
    """The texts of a record of an answer.

    Args:
        record: As FastChat, AlpacaEval or AlignBench write it.

    Raises:
        ValueError: If it holds none.
    """
    if "choices" in record:
        return [str(turn) for turn in record["choices"][0]["turns"]]
    for key in ("output", "answer"):
        if key in record:
            return [str(record[key])]
    raise ValueError(f"An answer must have choices, output or answer. It has {', '.join(sorted(record))}.")


class ModelAnswers:
    """Answers of the model under evaluation, kept as they come.

    Args:
        folder: Where they are kept.
        checkpoint: Folder of the model, to tell it from others.
        max_new_tokens: The most tokens of an answer. 1,024 in FastChat.
        seed: Of the sampling.
    """

    def __init__(self, folder: str | Path, checkpoint: str | None, max_new_tokens: int = 1024, seed: int = 1) -> None:
        self.file, self.checkpoint = Path(folder) / "answers.jsonl", checkpoint
        self.max_new_tokens, self.seed = max_new_tokens, seed

    def of(self, questions: Sequence[Asked], subject: Subject | None) -> dict[str, list[str]]:
        """Answers by id of the question, one for each turn.

        Args:
            questions: What is asked.
            subject: The model.

        Raises:
            ValueError: If there is no model.
        """
        if subject is None or self.checkpoint is None:
            raise ValueError("checkpoint=None must be a model folder where answers=None names no file of answers.")
        kept, weights = Kept(self.file), files_of(self.checkpoint)
        said: dict[str, list[str]] = {question.id: [] for question in questions}
        for turn in range(max(len(question.turns) for question in questions)):
            asked = [question for question in questions if len(question.turns) > turn]
            talks = {question.id: talk(question.turns, said[question.id]) for question in asked}
            keys = {
                question.id: key_of(weights, talks[question.id], question.temperature, self.max_new_tokens, self.seed)
                for question in asked
            }
            for temperature in sorted({question.temperature for question in asked}):
                waiting = [
                    question.id
                    for question in asked
                    if question.temperature == temperature and keys[question.id] not in kept
                ]
                for start in range(0, len(waiting), CHUNK):
                    chunk = waiting[start : start + CHUNK]
                    texts = self._generate(subject, [talks[name] for name in chunk], temperature)
                    kept.add(zip([keys[name] for name in chunk], texts, strict=True))
            for question in asked:
                said[question.id].append(kept[keys[question.id]])
        return said

    def _generate(self, subject: Subject, talks: Sequence[Sequence[Message]], temperature: float) -> list[str]:
        chat = ChatFormat(subject.tokenizer)
        prompts = [chat.prompt(messages) for messages in talks]
        if temperature == 0:
            return subject.greedy(prompts, self.max_new_tokens, ("<|im_end|>",))
        stop_ids = tuple(subject.tokenizer.special(name) for name in ("</s>", "<|im_end|>"))
        sampling = Sampling(
            max_new_tokens=self.max_new_tokens,
            temperature=temperature,
            stop_ids=stop_ids,
            seed=self.seed,
            logprobs=False,
        )
        completions = subject.engine.generate(prompts, sampling)
        return [subject.tokenizer.decode([id_ for id_ in one.ids if id_ not in stop_ids]) for one in completions]


def talk(turns: Sequence[str], said: Sequence[str]) -> list[Message]:
    """A conversation up to the next question.

    Args:
        turns: What the user says.
        said: What the assistant has said so far.
    """
    messages: list[Message] = []
    for place, text in enumerate(turns[: len(said) + 1]):
        messages.append({"role": "user", "content": text})
        if place < len(said):
            messages.append({"role": "assistant", "content": said[place]})
    return messages


Answers = FileAnswers | ModelAnswers
Progress = Callable[[int, int], None]
