"""Benchmarks of pairs: RewardBench, LLMBar and JudgeBench."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_records import Placed, Record

from internlm2_align.reward_benchmarks.item import (
    Item,
    Reading,
    ScoredItem,
    asked,
    by_subset,
    mean,
    read_items,
    record_files,
    tally,
    texts,
)

SECTIONS: Mapping[str, Mapping[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {"math-prm": 984, **{f"hep-{name}": 164 for name in ("cpp", "go", "java", "js", "python", "rust")}},
}
"""Weights of subsets in the sections of RewardBench (github.com/allenai/reward-bench, constants.py).

They are the counts of pairs, but for ``math-prm``: its 447 pairs weigh as much as all code.
"""


def domain_of(domains: Mapping[str, str], *names: str) -> str:
    """The first domain that is told for one of some names, else ``helpful``.

    Args:
        domains: Domains by name of subset or section.
        *names: The most special first.
    """
    return next((domains[name] for name in names if name in domains), "helpful")


class RewardBench:
    """RewardBench (arXiv 2403.13787): pairs in 23 subsets and four sections.

    The score is the mean of the sections, as the card of InternLM2-Reward has it. A section is the weighted mean of its
    subsets. A tie counts as wrong.

    Args:
        path: File or folder with ``prompt``, ``chosen``, ``rejected``, ``subset`` and ``id``. Of several splits
            ``filtered`` is read, which is the published one.
        domains: Domains of condition prompts, by subset or section.
    """

    name, version = "RewardBench", 1

    def __init__(self, path: str | Path, domains: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        self.domains = {"Safety": "harmless", "math-prm": "maths", "Reasoning": "code"} | dict(domains or {})

    def read(self, data: str | Path = ".") -> Reading:
        """All pairs."""
        return read_items(record_files(Path(data) / self.path, only="filtered"), _reward_bench)

    def domain(self, item: Item) -> str:
        """By subset or section."""
        return domain_of(self.domains, item.subset, *(name for name, own in SECTIONS.items() if item.subset in own))

    def figures(self, scored: Sequence[ScoredItem]) -> dict[str, Any]:
        """``score``, and figures by section and subset. ``missing`` are sections without pairs."""
        subsets = {name: tally(own) for name, own in by_subset(scored).items()}
        sections = {}
        for section, weights in SECTIONS.items():
            if found := {name: weight for name, weight in weights.items() if name in subsets}:
                total = sum(weight * subsets[name]["accuracy"] for name, weight in found.items())
                sections[section] = total / sum(found.values())
        if not sections:
            raise ValueError(f"subset={next(iter(subsets))} must be one of RewardBench's, such as alpacaeval-easy.")
        missing = [section for section in SECTIONS if section not in sections]
        counts = {name: value for name, value in tally(scored).items() if name != "accuracy"}
        return {
            "score": mean([*sections.values()]),
            **counts,
            "sections": sections,
            "missing": missing,
            "subsets": subsets,
        }


def _reward_bench(placed: Placed, record: Record) -> Iterator[Item]:
    chosen, rejected = texts(record["chosen"]), texts(record["rejected"])
    name = str(record.get("id", placed.number))
    yield Item(name, str(record["subset"]), asked(record["prompt"]), (chosen[0], rejected[0]), (True, False))


class LLMBar:
    """LLMBar (arXiv 2310.07641): instructions of which one output only looks better. A tie counts as wrong.

    The score is the accuracy over all pairs.

    Args:
        path: Folder with ``natural.json`` ..., or with ``Natural/dataset.json`` ... as published. Records have
            ``input``, ``output_1``, ``output_2`` and ``label``, 1 or 2.
        domain: Domain of the condition prompt.
    """

    name, version = "LLMBar", 1

    def __init__(self, path: str | Path, domain: str = "helpful") -> None:
        self.path, self.condition = Path(path), domain

    def read(self, data: str | Path = ".") -> Reading:
        """All pairs."""
        return read_items(record_files(Path(data) / self.path), _llmbar)

    def domain(self, item: Item) -> str:
        """One for all."""
        return self.condition

    def figures(self, scored: Sequence[ScoredItem]) -> dict[str, Any]:
        """``score``, and figures by set."""
        return score_of(scored) | {"subsets": {name: tally(own) for name, own in by_subset(scored).items()}}


def _llmbar(placed: Placed, record: Record) -> Iterator[Item]:
    label = record["label"]
    if label not in (1, 2):
        raise ValueError(f"label={label!r} must be 1 or 2.")
    stem = placed.file.name.split(".")[0]
    subset = (placed.file.parent.name if stem == "dataset" else stem).lower()
    outputs = texts([record["output_1"], record["output_2"]])
    better, worse = outputs if label == 1 else outputs[::-1]
    yield Item(f"{subset}-{placed.number}", subset, asked(record["input"]), (better, worse), (True, False))


class JudgeBench:
    """JudgeBench (arXiv 2410.12784): pairs of answers of one model, one right and one wrong. A tie counts as wrong.

    The score is the accuracy over all pairs. With it go those of knowledge, reasoning, maths and code.

    Args:
        path: File or folder with ``pair_id``, ``source``, ``question``, ``response_A``, ``response_B`` and ``label``.
            Of the two published files, that of GPT-4o is read.
        domains: Domains of condition prompts, by subset.
    """

    name, version = "JudgeBench", 1
    SOURCES: Mapping[str, str] = {
        "mmlu-pro": "knowledge",
        "livebench-reasoning": "reasoning",
        "livebench-math": "maths",
        "livecodebench": "code",
    }

    def __init__(self, path: str | Path, domains: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        self.domains = {"maths": "maths", "code": "code"} | dict(domains or {})

    def read(self, data: str | Path = ".") -> Reading:
        """All pairs."""
        files = record_files(Path(data) / self.path)
        return read_items([file for file in files if "gpt" in file.name] or files, self._items)

    def domain(self, item: Item) -> str:
        """By subset."""
        return domain_of(self.domains, item.subset)

    def figures(self, scored: Sequence[ScoredItem]) -> dict[str, Any]:
        """``score``, and figures by subset."""
        return score_of(scored) | {"subsets": {name: tally(own) for name, own in by_subset(scored).items()}}

    def _items(self, placed: Placed, record: Record) -> Iterator[Item]:
        source, label = str(record["source"]), record["label"]
        subset = next((name for prefix, name in self.SOURCES.items() if source.startswith(prefix)), source)
        if label not in ("A>B", "B>A"):
            raise ValueError(f"label={label!r} must be A>B or B>A.")
        answers = texts([record["response_A"], record["response_B"]])
        better, worse = answers if label == "A>B" else answers[::-1]
        yield Item(str(record["pair_id"]), subset, asked(record["question"]), (better, worse), (True, False))


def score_of(scored: Sequence[ScoredItem]) -> dict[str, Any]:
    """Accuracy over all items as ``score``, with ``items`` and ``ties``.

    Args:
        scored: Items with their scores.
    """
    figures = tally(scored)
    return {"score": figures.pop("accuracy"), **figures}
