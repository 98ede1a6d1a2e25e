"""Which source the next row comes from."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from internlm2_data.loading.order import shuffled

BLOCK = 64


class Place(NamedTuple):
    """A row's address: which row source, and which of its rows. Source -1 is a row of padding."""

    source: int
    row: int


class Mixture:
    """An endless sequence of places in which every source keeps its share of rows (and so of tokens).

    Shares are exact over every block of 64 rows, up to rounding that is carried to the next block. Inside a
    block the order is shuffled, so that ranks that take every n-th row see a mixture too.

    Args:
        weights: Share of each source by name, on any positive scale.
        seed: Of the order inside blocks.

    Raises:
        ValueError: If a weight is negative, or all weights are 0.
    """

    def __init__(self, weights: Mapping[str, float], seed: int) -> None:
        total = sum(weights.values())
        if not weights or total <= 0 or min(weights.values()) < 0:
            raise ValueError(f"weights={dict(weights)} must be positive numbers, one a source.")
        self.names = list(weights)
        self.shares = [weight / total for weight in weights.values()]
        self.seed = seed
        self.row = 0
        self._taken = [0] * len(self.names)
        self._block: list[Place] = []

    def take(self, count: int) -> list[Place]:
        """The next `count` places."""
        return [self._next() for _ in range(count)]

    def state_dict(self) -> dict[str, Any]:
        """Where the sequence is, in JSON types."""
        return {
            "row": self.row,
            "taken": dict(zip(self.names, self._taken, strict=True)),
            "shares": dict(zip(self.names, self.shares, strict=True)),
            "seed": self.seed,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken.

        Raises:
            ValueError: If it belongs to other sources, weights or another seed.
        """
        now = self.state_dict()
        for key in ("shares", "seed"):
            if state[key] != now[key]:
                raise ValueError(
                    f"The saved loader state has {key}={state[key]}, and this run has {now[key]}. Resume with the same "
                    "batches, or start a new phase from the weights alone."
                )
        self.row = state["row"]
        self._taken = [state["taken"][name] for name in self.names]
        self._block = self._plan(self._taken) if self.row % BLOCK else []

    def _next(self) -> Place:
        if not self._block:
            self._block = self._plan(self._taken)
        place = self._block[self.row % BLOCK]
        self.row += 1
        if self.row % BLOCK == 0:
            for done in self._block:
                self._taken[done.source] += 1
            self._block = []
        return place

    def _plan(self, taken: Sequence[int]) -> list[Place]:
        start, counts, places = sum(taken), list(taken), []
        for row in range(start + 1, start + BLOCK + 1):
            lag = [share * row - count for share, count in zip(self.shares, counts, strict=True)]
            source = lag.index(max(lag))
            places.append(Place(source, counts[source]))
            counts[source] += 1
        return [places[i] for i in shuffled(BLOCK, self.seed, "mixture", start // BLOCK)]
