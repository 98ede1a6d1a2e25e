"""The perplexity filter of long documents (report section 3.1.3): do neighbouring segments belong together?

For each pair of neighbours the loss of the second is computed alone and after the first. The difference, in nats per
token, is what the first tells of the second. Where it is low, the context distracts. Only differences count, so what
the estimator finds hard in itself cancels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, Protocol

from internlm2_data.document import Document
from internlm2_data.io.shards import ShardReader
from internlm2_data.long.segments import segments
from internlm2_data.page import Page
from internlm2_data.stages.sieves import Sifted
from internlm2_data.stores import InputFile
from internlm2_data.verdict import KEEP, Drop, Verdict

GAIN = "perplexity.gain"


class Scorer(Protocol):
    """A language model of any kind. It pickles, and its public attributes say which one it is."""

    def losses(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, int]]:
        """Nats of each text after its context, and the number of its tokens: the same with and without a context."""


@dataclass(frozen=True)
class GainSieve:
    """Notes what neighbouring segments tell of each other, and drops nothing.

    The note's `value` is the least gain of all pairs, `gains` are those of all pairs, and `place` is the character at
    which the least one has its border.

    Attributes:
        scorer: The language model.
        segment_bytes: Bytes of a segment.
        pairs: The most pairs of a document, spread evenly. None takes all.
        batch_documents: Documents scored at once.
        absent: See `Sieve`.
    """

    scorer: Scorer
    segment_bytes: int = 1024
    pairs: int | None = None
    batch_documents: int = 8
    absent: Sequence[str] = ()

    def sift(self, files: Sequence[InputFile], stage: str) -> Iterator[Sifted]:
        """See `Sieve`."""
        documents = (document for path in files for document in ShardReader(path))
        while batch := list(islice(documents, self.batch_documents)):
            for document, note in zip(batch, self.notes([document.text for document in batch]), strict=True):
                yield (document.with_note(stage=stage, rule=GAIN, action="score", **note) if note else document), True

    def notes(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Value, gains and place of each text. Nothing for a text of one segment."""
        chosen = [self._neighbours(text) for text in texts]
        neighbours = [pair for of_text in chosen for _, *pair in of_text]
        asked = [(first, second) for first, second in neighbours] + [("", second) for _, second in neighbours]
        losses = self.scorer.losses(asked)
        after, alone = losses[: len(neighbours)], losses[len(neighbours) :]
        gains = iter([(b - a) / max(1, n) for (a, n), (b, _) in zip(after, alone, strict=True)])
        return [_note([(place, next(gains)) for place, *_ in of_text]) for of_text in chosen]

    def _neighbours(self, text: str) -> list[tuple[int, str, str]]:
        found, place = [], 0
        for first, second in pairwise(segments(text, self.segment_bytes)):
            place += len(first)
            found.append((place, first, second))
        if self.pairs is None or len(found) <= self.pairs:
            return found
        return [found[number * len(found) // self.pairs] for number in range(self.pairs)]


def _note(gains: Sequence[tuple[int, float]]) -> dict[str, Any]:
    if not gains:
        return {}
    place, least = min(gains, key=lambda pair: pair[1])
    return {"value": round(least, 4), "place": place, "gains": [round(gain, 4) for _, gain in gains]}


@dataclass(frozen=True)
class GainRule:
    """Drops documents of which two neighbours tell too little of each other.

    Attributes:
        thresholds: Least gain in nats per token, by cell ("en-books"), language or "default", the first that is there.
    """

    thresholds: Mapping[str, float] = field(default_factory=lambda: {"default": 0.0})

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        return [self._judge(page.document) for page in pages]

    def _judge(self, document: Document) -> Verdict:
        names = (document.cell, document.language, "default")
        limit = next((self.thresholds[name] for name in names if name in self.thresholds), None)
        values = [note["value"] for note in document.trail if note.get("rule") == GAIN]
        if not values or limit is None or values[-1] >= limit:
            return KEEP
        return Drop("perplexity.distracting", values[-1], limit)


@dataclass(frozen=True)
class PerplexityFilter:
    """Both halves: scoring, which takes the time, and the thresholds, which may change without scoring again.

    Attributes:
        scores: Notes the gains.
        rule: Drops by them.
    """

    scores: GainSieve
    rule: GainRule = field(default_factory=GainRule)
