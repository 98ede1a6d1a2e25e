"""What a run was given: the documents, and the steps at which a part of one came."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from internlm2_data.loading.loader import Loader
from internlm2_data.loading.rows import Span

Decode = Callable[[Sequence[int]], str]


class Documents(Protocol):
    """A source of rows that knows which document is where, e.g. `internlm2_data.loading.token_rows.TokenRows`."""

    @property
    def name(self) -> str:
        """What it is called."""

    def ids(self, document: int) -> Any:
        """Ids of a document."""

    def given(self, rows: int) -> Any:
        """Documents of which the first rows hold a part."""

    def rows_of(self, spans: Sequence[Span], rows: int) -> Iterator[tuple[int, int]]:
        """Which of the first rows hold which span."""


@runtime_checkable
class HasPhases(Protocol):
    """Batches of several phases, one after another, e.g. ``internlm2_core.Phases``."""

    @property
    def phases(self) -> Sequence[Any]:
        """Phases with ``steps`` and ``batches``."""


@dataclass(frozen=True)
class Stretch:
    """Steps that one loader gave the batches of.

    Attributes:
        loader: It, for one rank: a global batch does not depend on how many there are.
        before: Steps before the first of them.
        steps: How many they are.
    """

    loader: Loader
    before: int
    steps: int

    def rows(self) -> dict[int, int]:
        """How many rows of each source were given at most, by its number."""
        tops: dict[int, int] = defaultdict(int)
        for places in self.loader.places(self.steps):
            for source, row in places:
                tops[source] = max(tops[source], row + 1)
        tops.pop(-1, None)
        return tops

    def steps_of(self, spans: dict[int, Sequence[Span]], rows: dict[int, int]) -> dict[tuple[int, int], list[int]]:
        """The steps at which parts of documents were given, sorted. Step 1 is the first one.

        Args:
            spans: Parts of documents by number of the source.
            rows: See `rows`.

        Returns:
            Steps by number of the source and number of the span.
        """
        wanted: dict[tuple[int, int], list[int]] = defaultdict(list)
        for source, parts in spans.items():
            documents: Any = self.loader.sources[source]
            for index, row in documents.rows_of(parts, rows[source]):
                wanted[source, row].append(index)
        found: dict[tuple[int, int], set[int]] = defaultdict(set)
        for step, places in enumerate(self.loader.places(self.steps), self.before + 1):
            for source, row in places:
                for index in wanted.get((source, row), ()):
                    found[source, index].add(step)
        return {key: sorted(steps) for key, steps in found.items()}


def stretches_of(batches: Any, steps: int) -> Iterator[Stretch]:
    """The stretches of a run.

    Args:
        batches: What the run was trained on: `PackedBatches`, `ChatBatches`, or several phases.
        steps: Steps that it took.
    """
    before, parts = 0, [(batches, steps)]
    if isinstance(batches, HasPhases):
        parts = [(phase.batches, phase.steps) for phase in batches.phases]
    for each, count in parts:
        if before < steps:
            yield Stretch(each.loader(0, 1, 0), before, min(count, steps - before))
        before += count


def token_span(ids: Sequence[int], decode: Decode, start: int, stop: int) -> tuple[int, int]:
    """The tokens that spell some characters of a text.

    Args:
        ids: Ids of the whole text.
        decode: Spells ids.
        start: First character.
        stop: Character after the last.
    """

    def spelt(count: int) -> int:
        # Half a character is spelt as a sign that the text has not.
        return len(decode(ids[:count]).rstrip("\ufffd"))

    counts = range(len(ids) + 1)
    before = spelt(bisect_right(counts, start, key=spelt) - 1)
    return bisect_left(counts, before, key=spelt), bisect_left(counts, stop, key=spelt)
