"""PPE: votes of people, and the best of k answers."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_records import Placed, Record

from internlm2_align.reward.conditions import language_code
from internlm2_align.reward_benchmarks.item import (
    Item,
    LeftOutError,
    Reading,
    ScoredItem,
    asked,
    by_subset,
    compared,
    mean,
    read_items,
    record_files,
    tally,
    texts,
)
from internlm2_align.reward_benchmarks.pairs import domain_of


class PPE:
    """PPE (arXiv 2410.14872): votes of people, and answers whose correctness was checked.

    Two figures are published. ``preference`` is the accuracy on pairs on which people did not tie. ``correctness`` is
    the mean over the best-of-k sets of the accuracy on their sampled pairs of a right and a wrong answer. ``best_of_k``
    is how often the answer with the highest score is right. ``score`` is the mean of the first two. A tie counts as
    wrong.

    Args:
        path: Folder with files or folders whose names hold ``Human-Preference``, and ``MMLU-Pro``, ``MATH``, ``GPQA``,
            ``IFEval`` or ``MBPP-Plus`` with ``Best-of-K``.
        domains: Domains of condition prompts, by name of the set.
    """

    name, version = "PPE", 1
    PEOPLE = "Human-Preference"
    CHECKED = ("MMLU-Pro", "MATH", "GPQA", "IFEval", "MBPP-Plus")

    def __init__(self, path: str | Path, domains: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        self.domains = {"MATH": "maths", "MBPP-Plus": "code"} | dict(domains or {})

    def read(self, data: str | Path = ".") -> Reading:
        """All votes and prompts. Votes for a tie are left out."""
        return read_items(record_files(Path(data) / self.path), self._items)

    def domain(self, item: Item) -> str:
        """By set."""
        return domain_of(self.domains, item.subset)

    def figures(self, scored: Sequence[ScoredItem]) -> dict[str, Any]:
        """``score``, ``preference``, ``correctness`` and ``best_of_k``, None where files lack, and figures by set."""
        sets = by_subset(scored)
        subsets = {name: tally(own) if name == self.PEOPLE else _checked(own) for name, own in sets.items()}
        checked = [own for name, own in subsets.items() if name != self.PEOPLE]
        preference = subsets[self.PEOPLE]["accuracy"] if self.PEOPLE in subsets else None
        correctness = mean([own["accuracy"] for own in checked]) if checked else None
        return {
            "score": mean([value for value in (preference, correctness) if value is not None]),
            "preference": preference,
            "correctness": correctness,
            "best_of_k": mean([own["best_of_k"] for own in checked]) if checked else None,
            "items": len(scored),
            "ties": sum(own["ties"] for own in subsets.values()),
            "subsets": subsets,
        }

    def _items(self, placed: Placed, record: Record) -> Iterator[Item]:
        place = f"{placed.file.parent.name}/{placed.file.name}"
        if "winner" in record:
            yield from self._vote(placed, record)
            return
        subset = next((name for name in self.CHECKED if name.lower() in place.lower()), None)
        if subset is None:
            raise ValueError(f"its file or folder must name one of {', '.join(self.CHECKED)}.")
        right = tuple(bool(score) for score in record["scores"])
        replies = texts([record[f"response_{number}"] for number in range(1, len(right) + 1)])
        pairs = [tuple(pair) for pair in record["sampled_conflict_pairs"]]
        if not pairs:
            raise LeftOutError("no_pair_of_right_and_wrong")
        yield Item(
            str(record["question_id"]), subset, asked(record["prompt"]), tuple(replies), right, meta={"pairs": pairs}
        )

    def _vote(self, placed: Placed, record: Record) -> Iterator[Item]:
        if record["winner"] not in ("model_a", "model_b"):
            raise LeftOutError("people_tied")
        answers = texts([record["response_1"], record["response_2"]])
        better, worse = answers if record["winner"] == "model_a" else answers[::-1]
        language = language_code(str(record.get("language") or "en"))
        name = str(record.get("question_id", placed.number))
        yield Item(name, self.PEOPLE, asked(record["prompt"]), (better, worse), (True, False), language)


def _checked(scored: Sequence[ScoredItem]) -> dict[str, Any]:
    verdicts = []
    for one in scored:
        for pair in one.item.meta["pairs"]:
            right, wrong = sorted(pair, key=lambda place: not one.item.right[place])
            verdicts.append(compared(one.scores[right], one.scores[wrong]))
    best = [one.item.right[max(range(len(one.scores)), key=lambda place: one.scores[place])] for one in scored]
    return {
        "accuracy": verdicts.count("right") / len(verdicts),
        "pairs": len(verdicts),
        "ties": verdicts.count("tie"),
        "best_of_k": mean(best),
        "items": len(scored),
    }
