"""Scores of the items of a benchmark, each computed once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from internlm2_align.kept import Kept, key_of
from internlm2_align.reward.encoding import TooLongError
from internlm2_align.reward.scoring import Scorer
from internlm2_align.reward.shared import Group
from internlm2_align.reward_benchmarks.item import Benchmark, Item, ScoredItem
from internlm2_align.reward_benchmarks.published import PUBLISHED

CHUNK_TOKENS = 200_000
"""Tokens that are scored between two writes."""


@dataclass(frozen=True)
class Scores:
    """Scores items in one mode.

    Attributes:
        scorer: With the condition table of the mode.
        kept: Where scores are kept.
        weights: What tells the model from others.
    """

    scorer: Scorer
    kept: Kept
    weights: Sequence[object]

    def of(
        self, items: Sequence[Item], domains: Sequence[str], progress: Callable[[int], None]
    ) -> list[tuple[float, ...] | None]:
        """Scores of the replies of each item, or None where it is too long.

        Args:
            items: The items.
            domains: Domain of each.
            progress: Called with the number of items that are done.

        Raises:
            ValueError: If a domain has no condition, or a score is not finite.
        """
        keys = [self._key(item, domain) for item, domain in zip(items, domains, strict=True)]
        waiting: dict[str, Group] = {}
        for done, (key, item, domain) in enumerate(zip(keys, items, domains, strict=True)):
            if key not in self.kept and key not in waiting:
                try:
                    waiting[key] = self.scorer.encoder.group(item.prompt, item.replies, domain, item.language)
                except TooLongError:
                    self.kept.add([(key, None)])
            if sum(group.stored_tokens for group in waiting.values()) > CHUNK_TOKENS:
                self._score(waiting)
                progress(done)
        self._score(waiting)
        return [None if self.kept[key] is None else tuple(self.kept[key]) for key in keys]

    def _score(self, waiting: dict[str, Group]) -> None:
        if waiting:
            self.kept.add(zip(waiting, self.scorer.scores([*waiting.values()]), strict=True))
            waiting.clear()

    def _key(self, item: Item, domain: str) -> str:
        encoder = self.scorer.encoder
        condition = encoder.conditions.messages(domain, item.language)
        return key_of(self.weights, encoder.max_tokens, condition, item.prompt, item.replies)


def measured(
    benchmark: Benchmark, data: Path, modes: Mapping[str, Scores], progress: Callable[[int, int], None]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures of a benchmark by mode, over the same items, and a sample for each item.

    Args:
        benchmark: The benchmark.
        data: Folder of all benchmarks.
        modes: What scores its items.
        progress: Called with (done, total).

    Raises:
        ValueError: If an item cannot be read or scored, or none fits.
    """
    reading = benchmark.read(data)
    items, total = reading.items, len(reading.items) * len(modes)
    domains = [benchmark.domain(item) for item in items]
    found: dict[str, list[tuple[float, ...] | None]] = {}
    for name, mode in modes.items():
        before = len(found) * len(items)
        found[name] = mode.of(items, domains, lambda done, before=before: progress(before + done, total))  # type: ignore[misc]
    progress(total, total)
    # Without a prompt more fits. What is compared must be the same items.
    fits = [place for place in range(len(items)) if all(own[place] is not None for own in found.values())]
    if not fits:
        raise ValueError(f"max_tokens is less than the {len(items)} items of {benchmark.name} have.")
    samples = [_about(items[place], domains[place]) for place in fits]
    figures: dict[str, Any] = {}
    for name, own in found.items():
        scored = [ScoredItem(items[place], own[place] or ()) for place in fits]
        figures[name] = benchmark.figures(scored)
        for sample, one in zip(samples, scored, strict=True):
            sample[name] = {"scores": list(one.scores), "verdict": one.verdict}
    left_out = dict(reading.left_out) | ({"too_long": len(items) - len(fits)} if len(fits) < len(items) else {})
    counts = {"records": len(items) + reading.left_out.total(), "left_out": left_out}
    return {**counts, **figures, "published": PUBLISHED.get(benchmark.name, {})}, samples


def _about(item: Item, domain: str) -> dict[str, Any]:
    about = {name: value for name, value in asdict(item).items() if name not in ("prompt", "replies", "meta")}
    return {**about, "right": list(item.right), "domain": domain}
