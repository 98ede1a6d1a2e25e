"""Loss on held-out text, per source: nats per token and bits per byte.

Bits per byte do not depend on the tokenizer: the loss of all tokens over the UTF-8 bytes that they spell. A token that
ends a document counts in the loss and spells nothing; a token that opens one is never predicted and is not counted.
"""

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol

from internlm2_core.batch import IGNORE, Batch
from internlm2_core.evaluation.subject import LossSum, Subject
from internlm2_core.evaluation.task import Progress, Result
from internlm2_core.text import Tokenizer
from internlm2_core.text.tokenizer import SPECIAL_TOKENS


class Batches(Protocol):
    """Makes one pass over held-out text, e.g. ``internlm2_data.loading.HeldOutBatches``."""

    def loader(self) -> Iterable[Batch]:
        """Packed batches in order."""
        ...


class HeldOutLoss:
    """Mean loss of each source.

    Args:
        sources: by name (a language, a kind of text), what makes its batches.
        context: tokens of a row, stated with the figures.

    Raises:
        ValueError: no sources.
    """

    kind: ClassVar[str] = "held_out_loss"
    version: ClassVar[int] = 1

    def __init__(self, sources: Mapping[str, Batches], context: int) -> None:
        if not sources:
            raise ValueError("held-out loss has no sources; name at least one in suite.TASK.sources.")
        self.sources, self.context = dict(sources), context

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Read every source once."""
        figures = {}
        total, total_bytes = LossSum(0.0, 0), 0
        for done, (name, batches) in enumerate(self.sources.items()):
            progress(done, len(self.sources))
            loss, num_bytes = _read(subject, name, batches)
            figures[name] = source_figures(loss, num_bytes)
            total = LossSum(total.nats + loss.nats, total.tokens + loss.tokens)
            total_bytes += num_bytes
        progress(len(self.sources), len(self.sources))
        return Result({"context": self.context, "sources": figures, "overall": source_figures(total, total_bytes)})


def _read(subject: Subject, name: str, batches: Batches) -> tuple[LossSum, int]:
    nats, tokens, num_bytes = 0.0, 0, 0
    for batch in batches.loader():
        loss = subject.batch_loss(batch)
        nats, tokens = nats + loss.nats, tokens + loss.tokens
        labels = batch["labels"].flatten()
        num_bytes += spelt_bytes(subject.tokenizer, labels[labels != IGNORE].tolist())
    if not tokens or not num_bytes:
        raise ValueError(f"held-out source {name!r} has no tokens to predict; name another in suite.TASK.sources.")
    return LossSum(nats, tokens), num_bytes


def spelt_bytes(tokenizer: Tokenizer, ids: list[int]) -> int:
    """UTF-8 bytes that tokens spell, special tokens left out."""
    special = set()
    for name in SPECIAL_TOKENS:
        try:
            special.add(tokenizer.special(name))
        except KeyError:
            continue
    return len(tokenizer.decode([id_ for id_ in ids if id_ not in special]).encode())


def source_figures(loss: LossSum, num_bytes: int) -> dict[str, float | int]:
    """The figures of one source."""
    return {
        "nats_per_token": loss.nats / loss.tokens,
        "bits_per_byte": loss.nats / math.log(2) / num_bytes,
        "tokens": loss.tokens,
        "bytes": num_bytes,
    }
