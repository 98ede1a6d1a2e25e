"""From documents to the items that they hold."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from internlm2_data.compiled import matching
from internlm2_data.decontamination.index import ItemIndex
from internlm2_data.decontamination.settings import MatchSettings
from internlm2_data.word_index import Words, all_found

# Of a part's weight, what an alignment must have to be looked at.
LEAST_SHARE = 0.2
# How far from a question its answer may be, in tokens.
NEAR = 256


class Chain(NamedTuple):
    """An alignment of a document with a part: tokens start to stop with part_start to part_stop."""

    start: int
    stop: int
    part_start: int
    part_stop: int
    weight: float
    misses: int


@dataclass(frozen=True, slots=True)
class Match:
    """A part that a document holds.

    Attributes:
        part: Number of the part.
        share: Share of it that was found, by weight or by number of tokens, whichever is less.
        exact: Whether all of its words were, in order and with nothing between them.
        start: First character in the document.
        stop: The character behind it.
        answer: Whether a right answer of the item is near it.
    """

    part: int
    share: float
    exact: bool
    start: int
    stop: int
    answer: bool


class Matcher:
    """Looks for items in documents.

    Args:
        index: The items.
        settings: What counts as one.
    """

    def __init__(self, index: ItemIndex, settings: MatchSettings) -> None:
        self.index, self.settings = index, settings
        extents, weight = index.arrays["part_extents"], index.arrays["weight"]
        sums = np.concatenate([[0.0], np.cumsum(weight)])
        self._totals = sums[extents[1:]] - sums[extents[:-1]]

    def find(self, texts: Sequence[str]) -> list[list[Match]]:
        """Matches of each text, in the order of their places."""
        token, extents, places = Words.of(texts)
        found: list[dict[int, list[Chain]]] = [defaultdict(list) for _ in texts]
        for document, part, start, stop, first, behind, weight, misses in self._chains(token, extents).tolist():
            found[document][part].append(Chain(start, stop, first, behind, weight / 1e6, misses))
        return [
            self._matches(text, token[start:stop], places[start:stop], chains) if chains else []
            for text, chains, (start, stop) in zip(texts, found, pairwise(extents.tolist()), strict=True)
        ]

    def _chains(self, token: Any, extents: Any) -> Any:
        gram, is_gram = matching.grams(token, extents, matching.SEED)
        least = LEAST_SHARE * self._totals
        arguments: list[Any] = [token, extents, gram, is_gram, *self.index.arrays.values(), least]
        found = all_found(lambda out: int(matching.chains(*[*arguments, out])), matching.FIELDS, room=4096)
        return self._promising(found)

    def _promising(self, chains: Any) -> Any:
        """Those of documents and parts of which enough was found in all."""
        totals = self._totals[chains[:, 1]]
        _, pair = np.unique(chains[:, 0] * len(self._totals) + chains[:, 1], return_inverse=True)
        shares = np.bincount(pair, chains[:, 6] / 1e6 / totals) if len(chains) else np.empty(0)
        return chains[shares[pair] >= self.settings.threshold]

    def _matches(self, text: str, token: Any, places: Any, chains: dict[int, list[Chain]]) -> list[Match]:
        data, found = text.encode("utf-8", "replace"), []
        for part, of_part in chains.items():
            for share, exact, start, stop in self._places(part, of_part):
                first, behind = (len(data[:byte].decode()) for byte in (places[start, 0], places[stop - 1, 1]))
                answer = self._has_answer(part, token, start, stop)
                found.append(Match(part, round(share, 4), exact, first, behind, answer))
        return sorted(found, key=lambda match: (match.start, match.part))

    def _places(self, part: int, chains: Sequence[Chain]) -> Iterable[tuple[float, bool, int, int]]:
        """Where enough of a part is, its pieces possibly apart: share, whether exact, first token, token behind."""
        extents, total = self.index.arrays["part_extents"], self._totals[part]
        size = int(extents[part + 1] - extents[part])
        taken = -1
        for number, first in enumerate(chains):
            if first.start < taken:
                continue
            used = [first]
            for chain in sorted(chains[number + 1 :], key=lambda chain: -chain.weight):
                apart = all(chain.part_stop <= u.part_start or u.part_stop <= chain.part_start for u in used)
                if apart and chain.stop <= first.start + 2 * size + NEAR:
                    used.append(chain)
            # By weight alone a title would be a question about it.
            width = sum(chain.part_stop - chain.part_start for chain in used) / size
            share = min(sum(chain.weight for chain in used) / total, width)
            if share >= self.settings.threshold:
                stop = max(chain.stop for chain in used)
                exact = not first.misses and first.part_stop - first.part_start == size
                exact = exact and first.stop - first.start == size
                yield share, exact, min(chain.start for chain in used), stop
                taken = stop

    def _has_answer(self, part: int, token: Any, start: int, stop: int) -> bool:
        """Whether an answer is near: the whole of a short one, half of the 4-grams of a longer one."""
        about = self.index.parts[part]
        answers = self.index.items[about.item].answers
        if about.kind != "question" or not answers:
            return about.kind == "both"
        near = np.concatenate([token[max(0, start - NEAR) : start], token[stop : stop + NEAR]])
        wanted, extents, _ = Words.of(answers)
        return any(_holds(near, wanted[a:b]) for a, b in pairwise(extents.tolist()) if b > a)


def _holds(near: Any, wanted: Any) -> bool:
    length = min(len(wanted), matching.SEED)
    if len(near) < length:
        return False
    windows = np.lib.stride_tricks.sliding_window_view
    there = {tuple(row) for row in windows(near, length).tolist()}
    return float(np.mean([tuple(row) in there for row in windows(wanted, length).tolist()])) >= 0.5
