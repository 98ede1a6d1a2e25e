"""Plans: which rows a pass consists of, and in which order.

`Endless` never repeats a row: a pass is only a stretch of the mixture. `Shuffled` sees each row of a fixed set once a
pass, or in stored order for evaluation.
"""

from collections.abc import Mapping
from typing import Any

from internlm2_data.loading.mixture import Mixture, Place
from internlm2_data.loading.order import shuffled


class Endless:
    """A mixture of endless sources, divided into passes of `rows` rows.

    Args:
        mixture: Says which source the next row comes from.
        rows: Rows of a pass.
    """

    def __init__(self, mixture: Mixture, rows: int) -> None:
        self._mixture, self._rows, self._ended = mixture, rows, False

    def __len__(self) -> int:
        """Rows of a pass."""
        return self._rows

    @property
    def taken(self) -> int:
        """Rows taken since the beginning."""
        return self._mixture.row

    def take(self, count: int) -> list[Place]:
        """The next places, and once none at the end of a pass."""
        if self._ended:
            self._ended = False
            return []
        before = self._mixture.row // self._rows
        places = self._mixture.take(count)
        self._ended = self._mixture.row // self._rows > before
        return places

    def state_dict(self) -> dict[str, Any]:
        """That of the mixture."""
        return self._mixture.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at `state`."""
        self._mixture.load_state_dict(state)
        self._ended = False


class Shuffled:
    """Passes over `rows` rows of source 0 in a new order each, with rows of endless texts strewn in between.

    Args:
        rows: Rows of source 0.
        texts: Shares of the sources 1, 2 and so on. None for no texts.
        fraction: Share of text rows among all rows, in [0, 1).
        seed: Of the order. None for the stored order.
    """

    def __init__(
        self,
        rows: int,
        seed: int | None,
        texts: Mapping[str, float] | None = None,
        fraction: float = 0.0,
    ) -> None:
        self._seed, self._own = seed, rows
        self._mixture = Mixture(texts, seed or 0) if texts and fraction else None
        self._all = rows + round(rows * fraction / (1 - fraction)) if self._mixture else rows
        self._pass = self._row = 0
        self._ended = False
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        """Rows of a pass."""
        return self._all

    @property
    def taken(self) -> int:
        """Rows taken since the beginning."""
        return self._pass * self._all + self._row

    def take(self, count: int) -> list[Place]:
        """The next places of the pass, and once none at its end."""
        if self._ended:
            self._ended = False
            return []
        numbers = self._numbers()[self._row : self._row + count]
        self._row += len(numbers)
        if self._row == self._all:
            self._pass, self._row, self._ended = self._pass + 1, 0, True
        return [Place(0, number) if number < self._own else self._text() for number in numbers]

    def state_dict(self) -> dict[str, Any]:
        """Pass and row, what a pass consists of, and where the texts are."""
        texts = self._mixture.state_dict() if self._mixture else None
        made_of = {"rows": self._own, "rows_with_texts": self._all, "seed": self._seed}
        return {"pass": self._pass, "row": self._row, "texts": texts, **made_of}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at the saved row.

        Raises:
            ValueError: If the state belongs to other rows, another share of text or another seed.
        """
        now = self.state_dict()
        for key in ("rows", "rows_with_texts", "seed"):
            if state[key] != now[key]:
                raise ValueError(
                    f"The saved loader state has {key}={state[key]}, and this run has {now[key]}. Resume with the same "
                    "batches, or start from the weights alone."
                )
        self._pass, self._row, self._ended = state["pass"], state["row"], False
        if self._mixture:
            self._mixture.load_state_dict(state["texts"])

    def _text(self) -> Place:
        assert self._mixture is not None
        (place,) = self._mixture.take(1)
        return Place(place.source + 1, place.row)

    def _numbers(self) -> list[int]:
        if self._order[0] != self._pass:
            key = (self._seed, "rows", self._pass)
            order = range(self._all) if self._seed is None else shuffled(self._all, *map(str, key)).tolist()
            self._order = (self._pass, list(order))
        return self._order[1]
