"""Conversations packed whole, without padding between them (supervised fine-tuning, report section 4.1)."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
from internlm2_records import Message, Reader, conversation_of, read_records
from xxhash import xxh3_128

from internlm2_data.loading.loader import Loader
from internlm2_data.loading.order import shuffled
from internlm2_data.loading.packed import PackedBatches
from internlm2_data.loading.packing import packed
from internlm2_data.loading.passes import Shuffled
from internlm2_data.loading.rows import IGNORE, Row, RowFiller, RowSource, Span
from internlm2_data.tokens.manifests import Manifest

log = logging.getLogger(__name__)


class Encoded(Protocol):
    """What an encoder returns: token ids, and for each whether the model is to learn to say it."""

    @property
    def ids(self) -> Sequence[int]:
        """Token ids [n]."""

    @property
    def loss_mask(self) -> Sequence[bool]:
        """True where the token is a target [n]."""


Encode = Callable[[list[Message]], Encoded]
Paths = str | Path | Sequence[str | Path]
"""A file or folder, or several."""

Overlong = Literal["drop", "cut"]
"""What happens to a conversation longer than a row."""


def encoded_conversations(
    paths: Paths, encode: Encode, readers: Mapping[str, Reader] | None = None
) -> Iterator[Encoded]:
    """Every conversation of some files, encoded.

    Args:
        paths: A file or folder, or several, see `internlm2_records`. Each record may be of another format.
        encode: For example ``ChatEncoder(tokenizer)`` of internlm2_core.
        readers: Readers of your own by suffix.

    Raises:
        FileNotFoundError: If a path is not there.
        ValueError: If a record cannot be read or encoded. The message begins with file and line.
    """
    for path in listed(paths):
        for placed in read_records(path, readers):
            messages = placed.parse(conversation_of)
            try:
                encoded = encode(messages)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{placed.place} cannot be encoded: {error}") from error
            yield encoded


def listed(paths: Paths) -> list[Path]:
    """One path or several, as a list."""
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


class Conversations:
    """Encoded conversations, laid end to end in memory (5 bytes a token).

    Args:
        encoded: Ids and loss masks.
        context: Tokens of a row. Longer conversations are dropped or cut.
        overlong: "drop" (counted in `.dropped`) or "cut" at `context` tokens (counted in `.cut`).
        source: What messages call them.

    Attributes:
        dropped: How many were too long.
        cut: How many lost their end.
        silent: How many were left out because no token of them, or of what the cut left, carries loss.

    Raises:
        ValueError: If nothing is left, or ``overlong`` is neither "drop" nor "cut".
    """

    def __init__(
        self, encoded: Iterable[Encoded], context: int, overlong: Overlong = "drop", source: str = "conversations"
    ) -> None:
        check_overlong(overlong)
        self.dropped = self.cut = self.silent = 0
        ids: list[npt.NDArray[np.int32]] = []
        masks: list[npt.NDArray[np.bool_]] = []
        for conversation in encoded:
            is_long = len(conversation.ids) > context
            if is_long and overlong == "drop":
                self.dropped += 1
            # The first token of a conversation is nobody's label.
            elif not any(conversation.loss_mask[1:context]):
                self.silent += 1
            else:
                self.cut += is_long
                ids.append(np.asarray(conversation.ids[:context], np.int32))
                masks.append(np.asarray(conversation.loss_mask[:context], np.bool_))
        self._report(source, len(ids), context)
        self.lengths = np.array([len(x) for x in ids], np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self._ids, self._mask = np.concatenate(ids), np.concatenate(masks)

    def _report(self, source: str, kept: int, context: int) -> None:
        total = kept + self.dropped + self.silent
        if not kept:
            raise ValueError(
                f"Of {total} conversations of {source} none is left. {self.dropped} are longer than context={context} "
                f"tokens and were dropped (overlong=cut keeps their beginning). {self.silent} have no token that "
                "carries loss, since no role in train_roles speaks in them."
            )
        if kept < total or self.cut:
            log.warning(
                "of %d conversations of %s %d were dropped and %d cut at %d tokens, and %d left out because no token "
                "of them carries loss",
                total,
                source,
                self.dropped,
                self.cut,
                context,
                self.silent,
            )

    def __len__(self) -> int:
        """Number of conversations kept."""
        return len(self.lengths)

    @cached_property
    def manifest(self) -> Manifest:
        """What they are. Which of their tokens carry loss is part of their contents."""
        contents = xxh3_128()
        for part in (self._ids, self._mask, self._starts):
            contents.update(part.data)
        return Manifest("conversations", len(self), len(self._ids), contents.hexdigest())

    def read(self, index: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Ids and shifted labels of one conversation."""
        part = slice(self._starts[index], self._starts[index + 1])
        ids, mask = self._ids[part], self._mask[part]
        labels = np.full(len(ids), IGNORE, np.int64)
        labels[:-1] = np.where(mask[1:], ids[1:], IGNORE)
        return ids, labels


class ChatRows:
    """Conversations packed into rows once, each into the fullest row that has room for it (best-fit).

    Args:
        conversations: What to pack.
        context: Tokens of a row.
        seed: Of the order.
        pad_id: Token id of padding.
    """

    def __init__(self, conversations: Conversations, context: int, seed: int, pad_id: int) -> None:
        self.conversations, self.context, self.pad_id = conversations, context, pad_id
        order = shuffled(len(conversations), seed, "chats")
        self._packing = packed(conversations.lengths, context, order)

    def __len__(self) -> int:
        """Number of rows."""
        return self._packing.rows

    @property
    def manifest(self) -> Manifest:
        """See `RowSource`."""
        return self.conversations.manifest

    def row(self, index: int) -> Row:
        """Row `index`."""
        filler = RowFiller(self.context, self.pad_id)
        for item in self._packing.row(index).tolist():
            ids, labels = self.conversations.read(item)
            filler.add(ids, labels, self.context)
        return filler.row

    def parts(self, index: int) -> list[Span]:
        """Conversations that row `index` holds, in their order, with their tokens."""
        return [Span(item, 0, int(self.conversations.lengths[item])) for item in self._packing.row(index).tolist()]

    @property
    def name(self) -> str:
        """What its documents are called."""
        return "conversations"

    def ids(self, document: int) -> npt.NDArray[np.int32]:
        """Ids of a conversation, counted without those that were left out, [n]."""
        return self.conversations.read(document)[0]

    def given(self, rows: int) -> npt.NDArray[np.int64]:
        """Conversations of the first `rows` rows, in stored order."""
        return np.sort(self._packing.items[: self._packing.extents[rows]])

    def rows_of(self, spans: Sequence[Span], rows: int) -> Iterator[tuple[int, int]]:
        """Which of the first rows hold which span. A conversation is in one row, which each pass gives once.

        Args:
            spans: Parts of conversations.
            rows: How many rows count.

        Yields:
            The index of a span, and a row.
        """
        found = ((index, int(self._packing.row_of[span.document])) for index, span in enumerate(spans))
        yield from ((index, row) for index, row in found if row < rows)


@dataclass(frozen=True)
class ChatBatches:
    """One pass over the conversations per iteration, whole conversations packed best-fit into rows.

    Attributes:
        conversations: Files of OpenAI messages, ShareGPT, Alpaca or ChatML, see `internlm2_records`.
        encode: Messages -> object with `.ids` and `.loss_mask`.
        context: Tokens of a row.
        batch_rows: Rows of a batch over all ranks. The last batch of a pass is filled up with rows of
            padding.
        seed: Of the order.
        overlong: What happens to conversations longer than a row: "drop" or "cut". Both are counted and
            warned of, as are those in which nothing carries loss: they are left out.
        pretrain: Rows of plain text to mix in (report section 4.3), with the same context.
        pretrain_fraction: Their share of all rows.
        pad_id: Token id of padding.
        readers: Readers of your own by suffix.
    """

    conversations: Paths
    encode: Encode
    context: int
    batch_rows: int
    seed: int
    overlong: Overlong = "drop"
    pretrain: PackedBatches | None = None
    pretrain_fraction: float = 0.0
    pad_id: int = 0
    readers: Mapping[str, Reader] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the settings, and that what is mixed in fits."""
        check_overlong(self.overlong)
        if not 0 <= self.pretrain_fraction < 1 or (self.pretrain_fraction and self.pretrain is None):
            raise ValueError(
                f"pretrain_fraction={self.pretrain_fraction} must be in [0, 1), and above 0 it needs pretrain."
            )
        if self.pretrain is not None and self.pretrain.context != self.context:
            raise ValueError(
                f"context={self.pretrain.context} of pretrain must be the context={self.context} of the conversations."
            )

    def held_out(self, source: Paths) -> "ChatBatches":
        """Batches of other conversations, encoded and packed as these are, without plain text."""
        return replace(self, conversations=source, pretrain=None, pretrain_fraction=0.0)

    def loader(self, dp_rank: int = 0, dp_size: int = 1, num_workers: int = 0) -> Loader:
        """A loader for one data-parallel rank, see `Loader`. The first one encodes all conversations."""
        mixed = self.pretrain if self.pretrain_fraction else None
        texts = mixed.shares() if mixed else None
        plan = Shuffled(len(self._chats), self.seed, texts, self.pretrain_fraction)
        rows: list[RowSource] = [self._chats, *(mixed.rows() if mixed else [])]
        return Loader(plan, rows, self.context, self.batch_rows, dp_rank, dp_size, num_workers, pad_id=self.pad_id)

    @cached_property
    def _chats(self) -> ChatRows:
        encoded = encoded_conversations(self.conversations, self.encode, self.readers)
        source = ", ".join(map(str, listed(self.conversations)))
        conversations = Conversations(encoded, self.context, self.overlong, source)
        return ChatRows(conversations, self.context, self.seed, self.pad_id)


def check_overlong(overlong: str) -> None:
    """Raise ValueError for what is neither "drop" nor "cut"."""
    if overlong not in get_args(Overlong):
        raise ValueError(f"overlong={overlong} must be drop or cut.")
