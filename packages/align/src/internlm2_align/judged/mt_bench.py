"""MT-Bench (arXiv 2306.05685): two turns, judged from 1 to 10, or in pairs against another model.

Questions, reference answers and the judge's prompts are read from files in FastChat's layout.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from internlm2_core.evaluation import Result, Subject
from internlm2_records import Message, Record, read_objects

from internlm2_align.judged.answers import Answers, Asked, FileAnswers, Progress, turns_of_answer
from internlm2_align.judged.judge import Judge, Said, counts
from internlm2_align.kept import Kept

TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
"""Of the sampling by category, as in FastChat. Others are greedy."""
NEED_REFERENCE = ("math", "reasoning", "coding")
RATINGS = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
"""Where a rating is looked for, the second if the first finds none. As in FastChat the first match counts."""
Winner = Literal["model", "other", "tie"]


class MTBench:
    """Every answer of both turns is rated from 1 to 10. The score is the mean of all ratings.

    Args:
        questions: File of questions: ``question_id``, ``category`` and ``turns``.
        prompts: File of the judge's prompts: ``name``, ``system_prompt`` and ``prompt_template``.
        references: File of reference answers for maths, reasoning and coding.
        judge: Who judges.
        answers: Where answers come from.
        folder: Where what the judge says is kept.
        limit: Questions that are asked. None asks all.
    """

    kind: ClassVar[str] = "mt_bench"
    version: ClassVar[int] = 1
    form: ClassVar[str] = "single"

    def __init__(
        self,
        questions: str | Path,
        prompts: str | Path,
        references: str | Path,
        judge: Judge,
        answers: Answers,
        folder: str | Path,
        limit: int | None = None,
    ) -> None:
        self.questions = read_objects(questions, needs=("question_id", "category", "turns"))[:limit]
        found = read_objects(prompts, needs=("name", "system_prompt", "prompt_template"))
        self.prompts = {prompt["name"]: prompt for prompt in found}
        self.references = {str(each["question_id"]): turns_of_answer(each) for each in read_objects(references)}
        self.judge, self.answers, self.folder = judge, answers, Path(folder)

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Answer, ask the judge, count."""
        said = self.answers.of([asked_of(question) for question in self.questions], subject)
        requests = {
            f"{question['question_id']}/{turn}": self._request(
                question, turn, answers=said[str(question["question_id"])]
            )
            for question in self.questions
            for turn in (1, 2)
        }
        verdicts = self.judge.ask(requests, Kept(self.folder / "verdicts.jsonl"), progress)
        samples = []
        for question in self.questions:
            for turn in (1, 2):
                text = verdicts.answers.get(f"{question['question_id']}/{turn}")
                rated = None if text is None else rating_in(text)
                about = {"id": str(question["question_id"]), "category": question["category"], "turn": turn}
                answer = said[about["id"]][turn - 1]
                samples.append({**about, "answer": answer, "said": text, "rating": rated})
        unread = sum(one["said"] is not None and one["rating"] is None for one in samples)
        return Result({**self._about(verdicts, unread), **self._figures(samples)}, samples)

    def _about(self, verdicts: Said, unread: int) -> dict[str, Any]:
        """Who judged, and what became of the requests. ``without_reference`` are questions that should have had one."""
        lacking = [each for each in self.questions if needs_reference(each) and self._reference(each) is None]
        return {"judge": self.judge.name, **counts(verdicts, unread), "without_reference": len(lacking)}

    def _figures(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        rated = [one for one in samples if one["rating"] is not None]
        categories = sorted({one["category"] for one in samples})
        return {
            "score": _mean(rated),
            "first_turn": _mean([one for one in rated if one["turn"] == 1]),
            "second_turn": _mean([one for one in rated if one["turn"] == 2]),
            "categories": {name: _mean([one for one in rated if one["category"] == name]) for name in categories},
        }

    def _request(self, question: Record, turn: int, answers: Sequence[str], **more: str) -> list[Message]:
        """What the judge is asked of one turn."""
        reference = self._reference(question)
        name = self._prompt_name(reference is not None, turn)
        if name not in self.prompts:
            raise ValueError(f"prompts lack {name!r}. They hold {', '.join(self.prompts)}.")
        values = {"question": question["turns"][0], "answer": answers[0], **more}
        for place, text in enumerate(question["turns"], 1):
            values |= {f"question_{place}": text, f"answer_{place}": answers[place - 1]}
        for place, text in enumerate(reference or (), 1):
            values[f"ref_answer_{place}"] = text
        prompt = self.prompts[name]
        text = filled(prompt["prompt_template"], values)
        return [{"role": "system", "content": prompt["system_prompt"]}, {"role": "user", "content": text}]

    def _prompt_name(self, has_reference: bool, turn: int) -> str:
        return ("single-math-v1" if has_reference else "single-v1") + ("-multi-turn" if turn == 2 else "")

    def _reference(self, question: Record) -> list[str] | None:
        return self.references.get(str(question["question_id"])) if needs_reference(question) else None


class MTBenchPairs(MTBench):
    """Answers are compared with those of another model, each pair in both orders. What does not survive is a tie.

    The score is the share of wins, a tie counted as half.

    Args:
        against: File of the other model's answers.
        **settings: Of `MTBench`.
    """

    kind: ClassVar[str] = "mt_bench_pairs"
    form: ClassVar[str] = "pairwise"

    def __init__(self, against: str | Path, **settings: Any) -> None:
        super().__init__(**settings)
        self.against = FileAnswers(against)

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Answer, ask the judge in both orders, count."""
        asked = [asked_of(question) for question in self.questions]
        ours, theirs = self.answers.of(asked, subject), self.against.of(asked, None)
        requests = {}
        for question in self.questions:
            name = str(question["question_id"])
            for turn in (1, 2):
                for order, (a, b) in (("ab", (ours[name], theirs[name])), ("ba", (theirs[name], ours[name]))):
                    requests[f"{name}/{turn}/{order}"] = self._pair(question, turn, a, b)
        verdicts = self.judge.ask(requests, Kept(self.folder / "verdicts.jsonl"), progress)
        samples = []
        for question in self.questions:
            name = str(question["question_id"])
            for turn in (1, 2):
                texts = [verdicts.answers.get(f"{name}/{turn}/{order}") for order in ("ab", "ba")]
                winners = [winner_in(text, turned) for text, turned in zip(texts, (False, True), strict=True)]
                about = {"id": name, "category": question["category"], "turn": turn}
                samples.append({**about, "said": texts, "orders": winners, "verdict": agreed(winners)})
        unread = sum(text is not None and winner is None for one in samples for text, winner in _both(one))
        return Result(
            {**self._about(verdicts, unread), **pair_figures([one["verdict"] for one in samples], samples)}, samples
        )

    def _pair(self, question: Record, turn: int, a: Sequence[str], b: Sequence[str]) -> list[Message]:
        values = {"answer_a": a[0], "answer_b": b[0]}
        values |= {f"answer_{side}_{place}": own[place - 1] for side, own in (("a", a), ("b", b)) for place in (1, 2)}
        return self._request(question, turn, a, **values)

    def _prompt_name(self, has_reference: bool, turn: int) -> str:
        return ("pair-math-v1" if has_reference else "pair-v2") + ("-multi-turn" if turn == 2 else "")


def needs_reference(question: Record) -> bool:
    """Whether answers to a question are judged by a reference, if there is one."""
    return question["category"].removeprefix("zh_") in NEED_REFERENCE


def asked_of(question: Record) -> Asked:
    """What a model is asked, at the temperature of the category."""
    category = question["category"].removeprefix("zh_")
    return Asked(str(question["question_id"]), question["turns"], TEMPERATURES.get(category, 0.0))


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with its names filled in. Braces of the values are text.

    Args:
        template: Holds ``{name}``.
        values: By name.

    Raises:
        ValueError: If it holds a name that is not known.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise ValueError(f"A prompt of the judge wants {{{found[1]}}}. Known are {', '.join(sorted(values))}.")
        return values[found[1]]

    return re.sub(r"\{(\w+)\}", value, template)


def rating_in(text: str) -> float | None:
    """The rating of an answer, or None if it holds none."""
    found = next((match for pattern in RATINGS if (match := pattern.search(text))), None)
    return None if found is None else float(found[1])


def winner_in(text: str | None, turned: bool) -> Winner | None:
    """Who wins by an answer, or None if it does not say.

    Args:
        text: The answer.
        turned: Whether the other model's answer was shown first.
    """
    if text is None:
        return None
    side = next((side for side in "ABC" if f"[[{side}]]" in text), None)
    if side in (None, "C"):
        return "tie" if side else None
    return "model" if (side == "A") != turned else "other"


def agreed(winners: Sequence[Winner | None]) -> Winner | None:
    """What both orders say together. None where one of them says nothing.

    Args:
        winners: By order.
    """
    if None in winners:
        return None
    return winners[0] if len(set(winners)) == 1 else "tie"


def pair_figures(verdicts: Sequence[Winner | None], samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``score``, and how many pairs were won, lost and tied. ``inconsistent`` are ties by the two orders' difference.

    Args:
        verdicts: Of each pair.
        samples: With the ``orders`` of each.
    """
    known = [verdict for verdict in verdicts if verdict is not None]
    won, lost, tied = (known.count(name) for name in ("model", "other", "tie"))
    score = (won + tied / 2) / len(known) if known else None
    inconsistent = sum(None not in one["orders"] and len(set(one["orders"])) > 1 for one in samples)
    return {"score": score, "won": won, "lost": lost, "tied": tied, "inconsistent": inconsistent}


def _both(sample: Mapping[str, Any]) -> list[tuple[str | None, Winner | None]]:
    return list(zip(sample["said"], sample["orders"], strict=True))


def _mean(samples: Sequence[Mapping[str, Any]]) -> float | None:
    return sum(one["rating"] for one in samples) / len(samples) if samples else None
