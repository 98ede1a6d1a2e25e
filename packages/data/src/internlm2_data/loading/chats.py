"""Conversations packed whole, without padding between them (supervised fine-tuning, report section 4.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from internlm2_data.loading.conversations import Messages, read_conversations
from internlm2_data.loading.loader import Loader
from internlm2_data.loading.order import shuffled
from internlm2_data.loading.packed import PackedBatches
from internlm2_data.loading.packing import first_fit
from internlm2_data.loading.passes import Shuffled
from internlm2_data.loading.rows import IGNORE, Row, RowFiller, RowSource

log = logging.getLogger(__name__)


class Encoded(Protocol):
    """What an encoder returns: token ids, and for each whether the model is to learn to say it."""

    @property
    def ids(self) -> Sequence[int]:
        """Token ids [n]."""
        ...

    @property
    def loss_mask(self) -> Sequence[bool]:
        """True where the token is a target [n]."""
        ...


Encode = Callable[[Messages], Encoded]


class Conversations:
    """Encoded conversations, laid end to end in memory (5 bytes a token).

    Args:
        messages: each a list of {"role", "content"}.
        encode: for example `ChatFormat(tokenizer).encode` of internlm2_core.
        context: tokens of a row; longer conversations are dropped or cut.
        overlong: "drop" (counted in `.dropped`) or "cut" at `context` tokens (counted in `.cut`).

    Raises:
        ValueError: when nothing is left.
    """

    def __init__(
        self,
        messages: Iterable[Messages],
        encode: Encode,
        context: int,
        overlong: Literal["drop", "cut"] = "drop",
    ) -> None:
        self.dropped = self.cut = 0
        ids: list[npt.NDArray[np.int32]] = []
        masks: list[npt.NDArray[np.bool_]] = []
        for conversation in messages:
            encoded = encode(conversation)
            if len(encoded.ids) > context:
                if overlong == "drop":
                    self.dropped += 1
                    continue
                self.cut += 1
            ids.append(np.asarray(encoded.ids[:context], np.int32))
            masks.append(np.asarray(encoded.loss_mask[:context], np.bool_))
        if not ids:
            raise ValueError(
                f"no conversation is left ({self.dropped} are longer than {context} tokens): "
                f"set batches.context, batches.overlong=cut or other conversations"
            )
        if self.dropped or self.cut:
            log.warning(
                "of %d conversations %d were dropped and %d cut at %d tokens",
                len(ids) + self.dropped,
                self.dropped,
                self.cut,
                context,
            )
        self.lengths = np.array([len(x) for x in ids], np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self._ids, self._mask = np.concatenate(ids), np.concatenate(masks)

    def __len__(self) -> int:
        """Number of conversations kept."""
        return len(self.lengths)

    def read(self, index: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Ids and shifted labels of one conversation."""
        part = slice(self._starts[index], self._starts[index + 1])
        ids, mask = self._ids[part], self._mask[part]
        labels = np.full(len(ids), IGNORE, np.int64)
        labels[:-1] = np.where(mask[1:], ids[1:], IGNORE)
        return ids, labels


class ChatRows:
    """Conversations packed into rows once, first-fit in shuffled order.

    Args:
        conversations: what to pack.
        context: tokens of a row.
        seed: of the order.
        pad_id: token id of padding.
    """

    def __init__(self, conversations: Conversations, context: int, seed: int, pad_id: int) -> None:
        self.conversations, self.context, self.pad_id = conversations, context, pad_id
        order = shuffled(len(conversations), seed, "chats").tolist()
        self._packed = first_fit(order, conversations.lengths.tolist(), context)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._packed)

    def row(self, index: int) -> Row:
        """Row `index`."""
        filler = RowFiller(self.context, self.pad_id)
        for item in self._packed[index]:
            ids, labels = self.conversations.read(item)
            filler.add(ids, labels, self.context)
        return filler.row


@dataclass(frozen=True)
class ChatBatches:
    """One pass over the conversations per iteration, whole conversations packed first-fit into rows.

    Attributes:
        conversations: files of the formats of `internlm2_data.loading.conversations`.
        encode: messages -> object with `.ids` and `.loss_mask`.
        context: tokens of a row.
        batch_rows: rows of a batch over all ranks; the last batch of a pass is filled up with rows of
            padding.
        seed: of the order.
        overlong: what happens to conversations longer than a row: "drop" or "cut"; both are counted and
            warned of.
        pretrain: rows of plain text to mix in (report section 4.3), with the same context.
        pretrain_fraction: their share of all rows.
        pad_id: token id of padding.
    """

    conversations: Sequence[str | Path]
    encode: Encode
    context: int
    batch_rows: int
    seed: int
    overlong: Literal["drop", "cut"] = "drop"
    pretrain: PackedBatches | None = None
    pretrain_fraction: float = 0.0
    pad_id: int = 0

    def __post_init__(self) -> None:
        """Check that what is mixed in fits."""
        if not 0 <= self.pretrain_fraction < 1 or (self.pretrain_fraction and self.pretrain is None):
            raise ValueError(
                f"batches.pretrain_fraction {self.pretrain_fraction} must lie in [0, 1), and needs batches.pretrain"
            )
        if self.pretrain is not None and self.pretrain.context != self.context:
            raise ValueError(
                f"pre-training rows of {self.pretrain.context} tokens cannot join rows of {self.context}: "
                f"set batches.pretrain.context={self.context}"
            )

    def loader(self, dp_rank: int = 0, dp_size: int = 1, num_workers: int = 0) -> Loader:
        """Encode all conversations, and give a loader for one data-parallel rank; see `Loader`."""
        conversations = Conversations(read_conversations(self.conversations), self.encode, self.context, self.overlong)
        chats = ChatRows(conversations, self.context, self.seed, self.pad_id)
        mixed = self.pretrain if self.pretrain_fraction else None
        texts = mixed.shares() if mixed else None
        plan = Shuffled(len(chats), self.seed, texts, self.pretrain_fraction)
        rows: list[RowSource] = [chats, *(mixed.rows() if mixed else [])]
        return Loader(plan, rows, self.context, self.batch_rows, dp_rank, dp_size, num_workers, pad_id=self.pad_id)
