"""The task: every question of the sets of a folder, asked about its document."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from internlm2_core.evaluation.leval.sets import Question, questions_of
from internlm2_core.evaluation.records import evenly
from internlm2_core.evaluation.subject import Subject
from internlm2_core.evaluation.task import Progress, Result
from internlm2_core.text import ChatFormat, Tokenizer

CHUNK = 32
"""Questions between two movements of the progress bar."""


class LEval:
    """Questions about long documents, scored by the published rules. Prompts are worded here, see ``samples``.

    Args:
        folder: Files ``NAME.jsonl`` or ``NAME.jsonl.gz`` of the published data, in any folders below.
        names: Sets that are asked. None asks all.
        max_tokens: Tokens of prompt and answer. The end of a longer document is cut off (of ``codeU`` the beginning).
            None takes the trained length of the model.
        max_new_tokens: The most tokens of an answer (512 in the published baselines).
        is_chat: Ask in ChatML. Else the prompt is plain text, as for a base model.
        limit: Questions of each set, spread evenly. None asks all.

    Raises:
        FileNotFoundError: If the folder lacks the sets.
        ValueError: If no folder is given.
    """

    kind: ClassVar[str] = "leval"
    version: ClassVar[int] = 1

    def __init__(
        self,
        folder: str | None,
        names: Sequence[str] | None = None,
        max_tokens: int | None = None,
        max_new_tokens: int = 512,
        is_chat: bool = True,
        limit: int | None = None,
    ) -> None:
        if not folder:
            raise ValueError(f"folder={folder} must be a folder with the files of L-Eval.")
        found = {file.name.partition(".")[0]: file for file in sorted(Path(folder).rglob("*.jsonl*"))}
        wanted = list(found) if names is None else list(names)
        if missing := [name for name in wanted if name not in found] or ([] if wanted else ["*"]):
            raise FileNotFoundError(f"folder={folder} must hold {missing[0]}.jsonl or {missing[0]}.jsonl.gz of L-Eval.")
        self.files = {name: found[name] for name in wanted}
        self.max_tokens, self.max_new_tokens = max_tokens, max_new_tokens
        self.is_chat, self.limit = is_chat, limit

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Ask, score, and take means."""
        # Before the first question: a mistake in the last file should not cost all answers.
        read = {name: questions_of(file) for name, file in self.files.items()}
        questions = [question for found, _ in read.values() for question in evenly(found, self.limit)]
        room = (self.max_tokens or subject.net.size.max_positions) - self.max_new_tokens
        writer = PromptWriter(subject.tokenizer, room, self.is_chat)
        samples: list[dict[str, Any]] = []
        for start in range(0, len(questions), CHUNK):
            progress(start, len(questions))
            samples += self._ask(subject, writer, questions[start : start + CHUNK])
        progress(len(questions), len(questions))
        sets = {name: set_figures([s for s in samples if s["set"] == name]) for name in self.files}
        for name, (found, judged) in read.items():
            sets[name] |= {"for_judges": judged, "not_asked": len(found) - sets[name]["count"]}
        about = {"max_tokens": room + self.max_new_tokens, "max_new_tokens": self.max_new_tokens, "chat": self.is_chat}
        return Result({**about, "sets": sets, "means": means(sets)}, samples)

    def _ask(self, subject: Subject, writer: "PromptWriter", questions: list[Question]) -> list[dict[str, Any]]:
        written = [[writer.write(*asked, question.keeps_end) for asked in question.asked()] for question in questions]
        stop = ("<|im_end|>",) if self.is_chat else ()
        answers = iter(subject.greedy([p.ids for prompts in written for p in prompts], self.max_new_tokens, stop))
        samples = []
        for question, prompts in zip(questions, written, strict=True):
            said = [next(answers).strip() for _ in prompts]
            read, scores = question.scored(said)
            about: dict[str, Any] = {"id": question.id, "set": question.group, "question": question.instruction}
            about |= {"prompts": [prompt.shown for prompt in prompts]}
            cut = sum(prompt.cut_tokens for prompt in prompts)
            found = {"reference": question.reference, "answers": said, "read": read, "scores": scores}
            samples.append(about | {"cut_tokens": cut} | found)
        return samples


@dataclass(frozen=True)
class Prompt:
    """What the model is asked.

    Attributes:
        ids: Tokens to be continued.
        shown: Its text with ``{document}`` in the place of the document.
        cut_tokens: Tokens of the document that did not fit.
    """

    ids: list[int]
    shown: str
    cut_tokens: int


@dataclass(frozen=True)
class PromptWriter:
    """Writes prompts that fit.

    Attributes:
        tokenizer: The model's.
        room: The most tokens of a prompt.
        is_chat: Whether it is a turn of ChatML.
    """

    tokenizer: Tokenizer
    room: int
    is_chat: bool

    def write(self, document: str, instruction: str, keeps_end: bool = False) -> Prompt:
        """A prompt of at most ``room`` tokens.

        Args:
            document: The text that is asked about. It is cut to fit. Without one there is only the instruction.
            instruction: What is asked.
            keeps_end: Cut the beginning and not the end.

        Raises:
            ValueError: If the instruction alone does not fit.
        """
        shown = f"Document:\n{{document}}\n\n{instruction}" if document else instruction
        ids, full = self._encode(shown.replace("{document}", document, 1)), self.tokenizer.encode(document)
        keep = len(full)
        while len(ids) > self.room:
            if keep == 0:
                raise ValueError(f"max_tokens={self.room} without the answer must be at least {len(ids)} tokens.")
            # The cut text may be encoded a little differently at its end.
            keep = max(0, keep - (len(ids) - self.room))
            kept = self.tokenizer.decode(full[len(full) - keep :] if keeps_end else full[:keep])
            ids = self._encode(shown.replace("{document}", kept, 1))
        return Prompt(ids, shown, len(full) - keep)

    def _encode(self, text: str) -> list[int]:
        if self.is_chat:
            return ChatFormat(self.tokenizer).prompt([{"role": "user", "content": text}])
        return [*self.tokenizer.begin, *self.tokenizer.encode(f"{text}\nAnswer:")]


def set_figures(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean scores of a set. ROUGE has a geometric mean of its three means too, as the published scorer gives it."""
    scores = {name: fmean(sample["scores"][name] for sample in samples) for name in samples[0]["scores"]}
    if "rougeL" in scores:
        scores["rouge_geometric_mean"] = math.prod(scores.values()) ** (1 / len(scores))
    return {"scores": scores, "count": len(samples), "cut": sum(sample["cut_tokens"] > 0 for sample in samples)}


def means(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Mean over the sets that have a score, by score, as the published table averages sets."""
    names = ("exact_match", "f1", "rougeL")
    found = {name: [each["scores"][name] for each in sets.values() if name in each["scores"]] for name in names}
    return {name: fmean(scores) for name, scores in found.items() if scores}
