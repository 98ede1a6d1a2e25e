"""Where the data sets of lm-eval's tasks lie in a folder, and what of them is laid out otherwise than on the hub."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from internlm2_core.evaluation.harness.mmlu import mmlu_rows

Row = dict[str, Any]


def as_they_are(rows: list[Row], subset: str, split: str) -> list[Row]:
    """Rows that are laid out as on the hub.

    Args:
        rows: Rows of the files.
        subset: Name of the configuration.
        split: Name of the split.
    """
    return rows


@dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        names: What its folder or file may be called, the commonest first.
        rows: Makes the rows of lm-eval from those of the files, given subset and split.
        whole: The split that a file without one in its name holds: the questions.
        holds_subsets: Whether a file that names no subset holds all, and ``rows`` picks.
        holds_splits: Whether a file that names no split holds all, and ``rows`` picks.
    """

    names: tuple[str, ...]
    rows: Callable[[list[Row], str, str], list[Row]] = as_they_are
    whole: str = "test"
    holds_subsets: bool = False
    holds_splits: bool = False


MBPP_SPLITS: Mapping[str, range] = MappingProxyType(
    {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}
)
"""Task numbers of each split of MBPP (arXiv 2108.07732, section 2.1)."""


def mbpp_rows(rows: list[Row], subset: str, split: str) -> list[Row]:
    """The rows of one split of a file of all 974.

    Args:
        rows: Rows of the files.
        subset: Name of the configuration.
        split: Name of the split.
    """
    numbers = MBPP_SPLITS.get(split, range(0))
    return [row for row in rows if row["task_id"] in numbers]


def agieval_rows(rows: list[Row], subset: str, split: str) -> list[Row]:
    """Zero-shot prompts in the words of AGIEval (arXiv 2304.06364), from its own files.

    Args:
        rows: Rows of the files.
        subset: Name of the configuration.
        split: Name of the split.
    """
    return [row if "query" in row else agieval_row(row, subset) for row in rows]


def agieval_row(row: Row, subset: str) -> Row:
    """One question of AGIEval as lm-eval reads it.

    Args:
        row: A line of AGIEval's own file.
        subset: Name of the exam.
    """
    passage, question, options = row.get("passage") or "", row["question"], row.get("options") or []
    is_chinese = (subset.startswith(("gaokao", "jec")) and subset != "gaokao-english") or subset.endswith("zh")
    last = chr(ord("A") + max(len(options) - 1, 0))
    if is_chinese:
        query = f"{passage}问题：{question} 选项：{' '.join(options)}\n答案：从A到{last}, 我们应选择"
        cloze = f"{passage}问题：{question}\n答案："
    else:
        query = f"{passage}Q: {question} Answer Choices: {' '.join(options)}\nA: Among A through {last}, the answer is"
        cloze = f"{passage}Q: {question}\nA: The answer is"
    if not options:
        return {"query": cloze, "answer": row["answer"]}
    label = row["label"]
    gold = sorted(ord(letter) - ord("A") for letter in (label if isinstance(label, list) else [label]))
    return {"query": query, "choices": list(options), "gold": gold}


def wikitext_rows(rows: list[Row], subset: str, split: str) -> list[Row]:
    """Articles of WikiText from its lines: one begins at each heading of the first order.

    Args:
        rows: Rows of the files.
        subset: Name of the configuration.
        split: Name of the split.
    """
    if rows and "page" in rows[0]:
        return rows
    pages: list[str] = []
    for row in rows:
        if not pages or re.fullmatch(r" = [^=].* = \s*", row["text"]):
            pages.append("")
        pages[-1] += row["text"]
    return [{"page": page} for page in pages if page.strip()]


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "openai/gsm8k": Source(("gsm8k",)),
        "cais/mmlu": Source(("mmlu",), mmlu_rows, holds_subsets=True),
        "openai/openai_humaneval": Source(("humaneval", "openai_humaneval")),
        "google-research-datasets/mbpp": Source(("mbpp",), mbpp_rows, holds_splits=True),
        "google/IFEval": Source(("ifeval", "ifeval_input_data"), whole="train"),
        "HuggingFaceH4/MATH-500": Source(("math500", "math-500")),
        "SaylorTwift/bbh": Source(("bbh",)),
        "EleutherAI/wikitext_document_level": Source(("wikitext-2", "wikitext"), wikitext_rows, holds_subsets=True),
        "haonan-li/cmmlu": Source(("cmmlu",)),
        "ceval/ceval-exam": Source(("ceval", "ceval-exam"), whole="validation"),
        "allenai/winogrande": Source(("winogrande",), whole="validation", holds_subsets=True),
        "Rowan/hellaswag": Source(("hellaswag",), whole="validation"),
        "EleutherAI/race": Source(("race",), holds_subsets=True),
        "google-research-datasets/nq_open": Source(("nq_open", "natural_questions"), whole="validation"),
        "mandarjoshi/trivia_qa": Source(("triviaqa", "trivia_qa"), whole="validation", holds_subsets=True),
    }
)
"""Data sets of the report's exams, by their names on the hub."""


def source_of(path: str, subset: str | None) -> tuple[Source, str | None]:
    """A data set of the hub, and its subset.

    Args:
        path: Name on the hub.
        subset: Name of the configuration there.
    """
    if path.startswith("hails/agieval-"):
        return Source(("agieval",), agieval_rows), path.removeprefix("hails/agieval-")
    return SOURCES.get(path, Source((path.rpartition("/")[2], path.replace("/", "-")))), subset
