"""AlpacaEval (arXiv 2404.04475): answers against those of a baseline, and the length-controlled win rate."""

import csv
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from internlm2_core.evaluation import Result, Subject
from internlm2_records import Message, read_objects

from internlm2_align.judged.answers import Answers, Asked, Progress
from internlm2_align.judged.judge import Judge, Said, counts
from internlm2_align.judged.length_control import FOLDS, Judged, length_controlled, standardised
from internlm2_align.judged.mt_bench import Winner, agreed, filled, pair_figures
from internlm2_align.kept import Kept
from internlm2_align.labelling.rubrics import asked, load_rubrics, verdict_in
from internlm2_align.preferences.comparison import Comparison

CHATML = re.compile(r"<\|im_start\|>(\w+)\n(.*?)\n?<\|im_end\|>", re.S)
NAMED = re.compile(r"\b[mM]\b")
PREFERENCE = {"model": 1.0, "other": 0.0, "tie": 0.5}


class AlpacaEval:
    """Every answer is compared with the baseline's in both orders. What does not survive the other order is a tie.

    AlpacaEval shows each pair in one order, drawn at random, and may weigh the verdict by the judge's probabilities.
    Both orders cost twice as much and need no probabilities.

    Args:
        reference: File of the baseline's answers: ``instruction`` and ``output``.
        judge: Who judges.
        answers: Where answers come from.
        folder: Where what the judge says is kept.
        template: Prompt of the judge in AlpacaEval's layout: ChatML with ``{instruction}``, ``{output_1}`` and
            ``{output_2}``, whose answer is ``m`` or ``M``. None asks by the labelling's rubric of ``helpful``.
        gamed: AlpacaEval's ``df_gamed.csv``, for the length control as published. None leaves out its terms.
        limit: Instructions that are asked. None asks all.

    Raises:
        ModuleNotFoundError: If scikit-learn is not installed.
        ValueError: If a file cannot be used.
    """

    kind: ClassVar[str] = "alpaca_eval"
    version: ClassVar[int] = 1

    def __init__(
        self,
        reference: str | Path,
        judge: Judge,
        answers: Answers,
        folder: str | Path,
        template: str | Path | None = None,
        gamed: str | Path | None = None,
        limit: int | None = None,
    ) -> None:
        if find_spec("sklearn") is None:  # before anything is paid for
            raise ModuleNotFoundError('scikit-learn is not installed: pip install "internlm2-align[judged]".')
        self.reference = read_objects(reference, needs=("instruction", "output"))[:limit]
        self.judge, self.answers, self.folder = judge, answers, Path(folder)
        self.template = None if template is None else turns_in(Path(template))
        self.gamed = None if gamed is None else Path(gamed)
        self.rubrics = load_rubrics()

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Answer, ask the judge in both orders, count."""
        questions = [Asked(str(place), [each["instruction"]]) for place, each in enumerate(self.reference)]
        ours = self.answers.of(questions, subject)
        requests: dict[str, list[Message]] = {}
        for question, each in zip(questions, self.reference, strict=True):
            pair = (each["output"], ours[question.id][0])
            requests[f"{question.id}/1"] = self._request(question, pair, turned=False)
            requests[f"{question.id}/2"] = self._request(question, pair, turned=True)
        said = self.judge.ask(requests, Kept(self.folder / "verdicts.jsonl"), progress)
        samples = [
            self._sample(question, each, ours[question.id][0], said)
            for question, each in zip(questions, self.reference, strict=True)
        ]
        unread = sum(
            text is not None and winner is None
            for one in samples
            for text, winner in zip(one["said"], one["orders"], strict=True)
        )
        figures = pair_figures([one["verdict"] for one in samples], samples)
        return Result(
            {"judge": self.judge.name, **counts(said, unread), **figures, **self._controlled(samples)}, samples
        )

    def _request(self, question: Asked, pair: tuple[str, str], turned: bool) -> list[Message]:
        if self.template is None:
            prompt: Message = {"role": "user", "content": question.turns[0]}
            return asked(Comparison(question.id, "helpful", (prompt,), pair), self.rubrics, turned)
        first, second = pair[::-1] if turned else pair
        values = {"instruction": question.turns[0], "output_1": first, "output_2": second}
        return [{"role": role, "content": filled(text, values)} for role, text in self.template]

    def _sample(self, question: Asked, each: dict[str, Any], answer: str, said: Said) -> dict[str, Any]:
        texts = [said.answers.get(f"{question.id}/{number}") for number in (1, 2)]
        winners = [self._winner(text, turned) for text, turned in zip(texts, (False, True), strict=True)]
        about = {"id": question.id, "instruction": question.turns[0], "answer": answer, "baseline": each["output"]}
        return {**about, "said": texts, "orders": winners, "verdict": agreed(winners)}

    def _winner(self, text: str | None, turned: bool) -> Winner | None:
        if text is None:
            return None
        if self.template is None:
            verdict = verdict_in(text, turned)
            named: dict[str | None, Winner] = {"first": "other", "second": "model", "tie": "tie", "both_bad": "tie"}
            return named.get(verdict)
        found = NAMED.findall(text)
        if not found:
            return None
        return "model" if (found[-1] == "M") != turned else "other"

    def _controlled(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The win rate at equal lengths, None where there is too little to tell."""
        places = [place for place, one in enumerate(samples) if one["verdict"] is not None]
        name = "length_controlled_minimal" if self.gamed is None else "length_controlled_v1"
        if len(places) < FOLDS:
            return {"length_control": name, "length_controlled": None, "length_controlled_error": None}
        known = [samples[place] for place in places]
        lengths = standardised([one["answer"] for one in known], [one["baseline"] for one in known])
        preference = np.array([PREFERENCE[one["verdict"]] for one in known])
        gamed = None if self.gamed is None else gamed_in(self.gamed)
        difficulty = None if gamed is None else np.array([gamed[1][place] for place in places])
        rate = length_controlled(Judged(preference, lengths, difficulty), None if gamed is None else gamed[0])
        error = float(rate.std(ddof=1) / np.sqrt(len(rate)))
        return {"length_control": name, "length_controlled": float(rate.mean()), "length_controlled_error": error}


def turns_in(file: Path) -> list[tuple[str, str]]:
    """Roles and texts of a prompt in ChatML.

    Args:
        file: The prompt.

    Raises:
        ValueError: If it holds no turns, or lacks a part of the question.
    """
    text = file.read_text(encoding="utf-8")
    found = [(role, body) for role, body in CHATML.findall(text)]
    lacking = [name for name in ("{instruction}", "{output_1}", "{output_2}") if name not in text]
    if not found or lacking:
        raise ValueError(f"template={file} must be turns of ChatML with {', '.join(lacking) or 'a role each'}.")
    return found


def gamed_in(file: Path) -> tuple[Judged, dict[int, float]]:
    """Judgements of the gamed baselines, and the difficulty of each instruction.

    Args:
        file: ``df_gamed.csv``: ``index``, ``preference``, ``std_delta_len`` and ``instruction_difficulty``.

    Raises:
        ValueError: If it lacks a column.
    """
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("preference") not in (None, "")]
    try:
        columns = [
            np.array([float(row[name]) for row in rows])
            for name in ("preference", "std_delta_len", "instruction_difficulty")
        ]
        places = [int(float(row["index"])) for row in rows]
    except KeyError as error:
        raise ValueError(f"gamed={file} lacks the column {error}.") from error
    difficulty = dict(zip(places[::-1], columns[2][::-1].tolist(), strict=True))  # the first of each counts
    return Judged(*columns), difficulty
