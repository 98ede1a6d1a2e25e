"""Rows of packed conversations, and the order of one pass over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from internlm2_data.loading.mixture import Mixture, Place
from internlm2_data.loading.order import shuffled
from internlm2_data.loading.packing import first_fit
from internlm2_data.loading.rows import Row, RowFiller


class Readable(Protocol):
    """Items with a length each, read as ids and labels."""

    lengths: npt.NDArray[np.int64]

    def read(self, index: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Ids and labels of one item."""
        ...


class ChatRows:
    """Conversations shuffled and packed anew in every pass; row numbers run on through the passes.

    Args:
        conversations: what to pack.
        context: tokens of a row.
        seed: of the order.
        pad_id: token id of padding.
    """

    def __init__(self, conversations: Readable, context: int, seed: int, pad_id: int) -> None:
        self.conversations, self.context, self.seed, self.pad_id = conversations, context, seed, pad_id
        self._starts = [0]
        self._packed: dict[int, list[list[int]]] = {}

    def row(self, index: int) -> Row:
        """Row `index`, counted from the first row of pass 0."""
        epoch = 0
        while index >= self.start(epoch + 1):
            epoch += 1
        filler = RowFiller(self.context, self.pad_id)
        for item in self._pack(epoch)[index - self.start(epoch)]:
            ids, labels = self.conversations.read(item)
            filler.add(ids, labels, self.context)
        return filler.row

    def start(self, epoch: int) -> int:
        """The number of the first row of a pass."""
        while len(self._starts) <= epoch:
            self._starts.append(self._starts[-1] + len(self._pack(len(self._starts) - 1)))
        return self._starts[epoch]

    def _pack(self, epoch: int) -> list[list[int]]:
        if epoch not in self._packed:
            order = shuffled(len(self.conversations.lengths), self.seed, "chats", epoch).tolist()
            rows = first_fit(order, self.conversations.lengths.tolist(), self.context)
            # First-fit leaves the emptiest rows at the end; the last batches should look like the others.
            again = shuffled(len(rows), self.seed, "rows", epoch)
            self._packed = {e: p for e, p in self._packed.items() if abs(e - epoch) == 1}
            self._packed[epoch] = [rows[i] for i in again]
        return self._packed[epoch]


class ChatPlan:
    """The places of one pass after another: every conversation row once, text rows strewn in between.

    Args:
        chats: source 0.
        texts: shares of the text sources 1, 2, ..., if any are mixed in.
        fraction: share of text rows among all rows, in [0, 1).
        seed: of the order.
    """

    def __init__(
        self, chats: ChatRows, texts: Mapping[str, float] | None, fraction: float, seed: int
    ) -> None:
        self._chats, self._fraction, self._seed = chats, fraction if texts else 0.0, seed
        self._mixture = Mixture(texts, seed) if texts else None
        self._epoch = self._row = 0
        self._order: tuple[int, list[bool]] = (-1, [])

    def __len__(self) -> int:
        """Rows of the current pass."""
        chats = self._chats.start(self._epoch + 1) - self._chats.start(self._epoch)
        return chats + self._text_rows(chats)

    def take(self, count: int) -> list[Place]:
        """The next places of the pass; none at its end, once."""
        is_text = self._is_text()
        picked = is_text[self._row : self._row + count]
        if not picked:
            self._epoch, self._row = self._epoch + 1, 0
            return []
        chat = self._chats.start(self._epoch) + self._row - sum(is_text[: self._row])
        places = []
        for text in picked:
            places.append(self._text() if text else Place(0, chat))
            chat += not text
        self._row += len(picked)
        return places

    def state_dict(self) -> dict[str, Any]:
        """Pass and row, and where the mixed-in text stands."""
        return {
            "epoch": self._epoch,
            "row": self._row,
            "conversations": len(self._chats.conversations.lengths),
            "fraction": self._fraction,
            "seed": self._seed,
            "texts": self._mixture.state_dict() if self._mixture else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at the saved row.

        Raises:
            ValueError: when the state belongs to other conversations, another share of text or another seed.
        """
        now = self.state_dict()
        for key in ("conversations", "fraction", "seed"):
            if state[key] != now[key]:
                raise ValueError(
                    f"the saved loader state has {key} {state[key]}, this run {now[key]}: resume with the "
                    f"same batches, or start from the weights alone"
                )
        self._epoch, self._row = state["epoch"], state["row"]
        if self._mixture:
            self._mixture.load_state_dict(state["texts"])

    def _text(self) -> Place:
        assert self._mixture is not None
        (place,) = self._mixture.take(1)
        return Place(place.source + 1, place.row)

    def _is_text(self) -> list[bool]:
        if self._order[0] != self._epoch:
            count = len(self)
            chats = self._chats.start(self._epoch + 1) - self._chats.start(self._epoch)
            order = shuffled(count, self._seed, "texts", self._epoch)
            self._order = (self._epoch, [bool(i >= chats) for i in order])
        return self._order[1]

    def _text_rows(self, chats: int) -> int:
        return round(chats * self._fraction / (1 - self._fraction))
