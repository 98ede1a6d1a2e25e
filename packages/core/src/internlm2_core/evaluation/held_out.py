"""Loss on held-out text, per source: nats per token and bits per byte.

Bits per byte do not depend on the tokenizer. They are the loss of all tokens over the UTF-8 bytes that they spell, also
where a row ends inside a character. A token that ends a document counts in the loss and spells nothing. A token that
opens one is never predicted, and is not counted.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

from internlm2_core.batch import IGNORE, Batch
from internlm2_core.evaluation.subject import Subject
from internlm2_core.evaluation.task import Progress, Result
from internlm2_core.text import Tokenizer
from internlm2_core.text.spelt import added_spaces, byte_counts


class Batches(Protocol):
    """Makes one pass over held-out text, e.g. ``internlm2_data.loading.HeldOutBatches``."""

    def loader(self) -> Iterable[Batch]:
        """Packed batches in order."""


class HeldOutLoss:
    """Mean loss of each source, of each language, and of all tokens.

    Args:
        sources: What ``batches`` reads, by names such as "zh-webpages": ``LANGUAGE-KIND``, as token files are called.
        batches: Makes the batches of a source, given ``source``, ``context``, ``batch_rows`` and ``max_rows``.
        context: Tokens of a row. A longer document continues in the next row, which does not see what came before.
        batch_rows: Rows computed at once.
        max_rows: Rows read of each source. None reads all.

    Raises:
        ValueError: If there are no sources.
    """

    kind: ClassVar[str] = "held_out_loss"
    version: ClassVar[int] = 2

    def __init__(
        self,
        sources: Mapping[str, Any],
        batches: Callable[..., Batches],
        context: int,
        batch_rows: int = 8,
        max_rows: int | None = None,
    ) -> None:
        if not sources:
            raise ValueError("sources={} of held-out loss must hold one source or more.")
        self.sources, self.make_batches = dict(sources), batches
        self.context, self.batch_rows, self.max_rows = context, batch_rows, max_rows

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Read every source once."""
        read: dict[str, Reading] = {}
        for done, (name, source) in enumerate(self.sources.items()):
            progress(done, len(self.sources))
            read[name] = self._read(subject, name, source)
        progress(len(self.sources), len(self.sources))
        languages: dict[str, Reading] = {}
        for name, reading in read.items():
            language = name.partition("-")[0]
            languages[language] = languages.get(language, Reading()) + reading
        return Result(
            {
                "context": self.context,
                "sources": {name: reading.figures() for name, reading in read.items()},
                "languages": {name: reading.figures() for name, reading in languages.items()},
                "overall": sum(read.values(), Reading()).figures(),
            }
        )

    def _read(self, subject: Subject, name: str, source: Any) -> "Reading":
        batches = self.make_batches(
            source=source, context=self.context, batch_rows=self.batch_rows, max_rows=self.max_rows
        )
        total, spells = Reading(), Spelling(subject.tokenizer)
        for batch in batches.loader():
            total += Reading(*subject.batch_loss(batch), spells.bytes_of(batch))
        if not total.tokens or not total.num_bytes:
            raise ValueError(f"The held-out source {name!r} has no tokens to predict.")
        return total


@dataclass(frozen=True)
class Reading:
    """What was read of a source.

    Attributes:
        nats: Summed loss.
        tokens: Predicted tokens.
        num_bytes: UTF-8 bytes that these tokens spell.
    """

    nats: float = 0.0
    tokens: int = 0
    num_bytes: int = 0

    def __add__(self, other: "Reading") -> "Reading":
        return Reading(self.nats + other.nats, self.tokens + other.tokens, self.num_bytes + other.num_bytes)

    def figures(self) -> dict[str, float | int]:
        """The figures as ``metrics.json`` holds them."""
        return {
            "nats_per_token": self.nats / self.tokens,
            "bits_per_byte": self.nats / math.log(2) / self.num_bytes,
            "tokens": self.tokens,
            "bytes": self.num_bytes,
        }


class Spelling:
    """Counts the bytes that the labels of a batch spell.

    Args:
        tokenizer: Whose ids they are.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.counts, self.begin = torch.tensor(byte_counts(tokenizer)), tokenizer.begin
        self.added = added_spaces(tokenizer)

    def bytes_of(self, batch: Batch) -> int:
        """UTF-8 bytes of all labels.

        Args:
            batch: Packed rows.
        """
        labels = batch["labels"].cpu()
        found = int(self.counts[labels[labels != IGNORE]].sum())
        if self.added and self.begin:
            # Without a beginning the first token of a text is not predicted.
            opens = (batch["input_ids"].cpu() == self.begin[0]) & (labels != IGNORE)
            found -= self.added * int(opens.sum())
        return found
