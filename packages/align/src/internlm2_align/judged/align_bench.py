"""AlignBench (arXiv 2311.18743): Chinese questions, rated in several dimensions and as a whole against a reference."""

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import yaml
from internlm2_core.evaluation import Result, Subject
from internlm2_records import Message, Record, read_objects

from internlm2_align.judged.answers import Answers, Asked, Progress
from internlm2_align.judged.judge import Judge, counts
from internlm2_align.judged.mt_bench import filled
from internlm2_align.kept import Kept

TEMPERATURES = {"角色扮演": 0.7, "文本写作": 0.7, "综合问答": 0.7}
"""Of the sampling by category, as published. Others have 0.1."""
REASONING = ("数学计算", "逻辑推理")
LANGUAGE = ("基本任务", "中文理解", "综合问答", "文本写作", "角色扮演", "专业能力")
OVERALL = "综合得分"
SCORES = re.compile(r"\{([^{}]*)\}")
SCORE = re.compile(r"""['"‘“]([^'"’”]+)['"’”]\s*[:：]\s*(\d+(?:\.\d+)?)""")


class AlignBench:
    """Every answer is rated from 1 to 10, in the dimensions of its subcategory.

    The score is the mean of ``reasoning`` (two categories) and ``language`` (six), each the mean of its categories.

    Args:
        questions: File of questions: ``question_id``, ``category``, ``subcategory``, ``question`` and ``reference``.
        config: Folder with ``subcategory_question_mapping.json``, ``dimension_set.json`` and
            ``dimension_definition.json``, as published.
        judge: Who judges.
        answers: Where answers come from.
        folder: Where what the judge says is kept.
        prompt: File with the judge's prompt. None takes ours.
        limit: Questions that are asked. None asks all.
    """

    kind: ClassVar[str] = "align_bench"
    version: ClassVar[int] = 1

    def __init__(
        self,
        questions: str | Path,
        config: str | Path,
        judge: Judge,
        answers: Answers,
        folder: str | Path,
        prompt: str | Path | None = None,
        limit: int | None = None,
    ) -> None:
        needs = ("question_id", "category", "subcategory", "question", "reference")
        self.questions = read_objects(questions, needs=needs)[:limit]
        names = ("subcategory_question_mapping", "dimension_set", "dimension_definition")
        self.types, self.dimensions, self.definitions = (_json(Path(config) / f"{name}.json") for name in names)
        self.judge, self.answers, self.folder = judge, answers, Path(folder)
        built_in = files("internlm2_align.judged").joinpath("align_bench.yaml").read_text(encoding="utf-8")
        self.prompt = Path(prompt).read_text(encoding="utf-8") if prompt else str(yaml.safe_load(built_in)["prompt"])

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Answer, ask the judge, count."""
        asked = [
            Asked(str(each["question_id"]), [each["question"]], TEMPERATURES.get(each["category"], 0.1))
            for each in self.questions
        ]
        answers = self.answers.of(asked, subject)
        requests = {
            str(each["question_id"]): self._request(each, answers[str(each["question_id"])][0])
            for each in self.questions
        }
        said = self.judge.ask(requests, Kept(self.folder / "verdicts.jsonl"), progress)
        samples = []
        for each in self.questions:
            name = str(each["question_id"])
            text = said.answers.get(name)
            ratings = {} if text is None else ratings_in(text)
            about = {"id": name, "category": each["category"], "subcategory": each["subcategory"]}
            rated = {"ratings": ratings, "rating": ratings.get(OVERALL)}
            samples.append({**about, "answer": answers[name][0], "said": text, **rated})
        unread = sum(one["said"] is not None and one["rating"] is None for one in samples)
        return Result({"judge": self.judge.name, **counts(said, unread), **figures_of(samples)}, samples)

    def _request(self, question: Record, answer: str) -> list[Message]:
        subcategory = question["subcategory"]
        if subcategory not in self.types:
            raise ValueError(f"subcategory={subcategory} must be one of {', '.join(self.types)}.")
        dimensions = self.dimensions[self.types[subcategory]]
        listed = "".join(f"{place}. {name}: {self.definitions[name]}\n" for place, name in enumerate(dimensions, 1))
        parts = {key: str(question[key]) for key in ("category", "question", "reference")}
        template = self.prompt.replace("{{", "{").replace("}}", "}")
        return [{"role": "user", "content": filled(template, {**parts, "answer": answer, "dimensions": listed})}]


def ratings_in(text: str) -> dict[str, float]:
    """The ratings of an answer by dimension: those of the last object in it.

    Args:
        text: The answer.
    """
    found = [dict(SCORE.findall(body)) for body in SCORES.findall(text)]
    ratings = {name: float(value) for name, value in (found[-1] if found else {}).items()}
    return {name: value for name, value in ratings.items() if 1 <= value <= 10}


def figures_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``score``, ``reasoning``, ``language`` and means by category, None for what has no ratings.

    Args:
        samples: Rated answers.
    """
    categories = {
        name: _mean([one["rating"] for one in samples if one["category"] == name and one["rating"] is not None])
        for name in sorted({one["category"] for one in samples})
    }
    reasoning, language = (_mean([categories.get(name) for name in names]) for names in (REASONING, LANGUAGE))
    parts = [part for part in (reasoning, language) if part is not None]
    return {"score": _mean(parts), "reasoning": reasoning, "language": language, "categories": categories}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}.") from error
