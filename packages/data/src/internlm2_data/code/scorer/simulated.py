"""A SIMULATED labeller, in place of people in tests and in the miniature."""

from dataclasses import dataclass
from typing import Protocol

from internlm2_data.code.quality import HIGH, LOW, quality
from internlm2_data.document import Document, content_id
from internlm2_data.page import Page


class Labeller(Protocol):
    """Says what a person would say of a file."""

    def __call__(self, document: Document, again: bool) -> str:
        """One of `QUALITIES`.

        Args:
            document: The file.
            again: Whether it is a second look.
        """


@dataclass(frozen=True)
class SimulatedLabeller:
    """Calls files high or low by the rules of `CodeQuality`, and errs sometimes.

    A scorer of such labels learns the rules by heart. It says nothing about what people would say.

    Attributes:
        low: Rule scores below it are low.
        high: Rule scores from it on are high.
        errors: Share of files that a first look calls high for low and low for high. A second look is right.
    """

    low: float = LOW
    high: float = HIGH
    errors: float = 0.0

    def __call__(self, document: Document, again: bool) -> str:
        """See `Labeller`."""
        score = quality(Page(document))
        right = "high" if score >= self.high else "low" if score < self.low else "moderate"
        wrong = int(content_id("error", document.id)[:8], 16) / 2**32 < self.errors
        return {"high": "low", "low": "high"}.get(right, right) if wrong and not again else right
