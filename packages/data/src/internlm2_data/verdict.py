"""What a rule says about a document: keep it, drop it, or rewrite it, always with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from internlm2_data.document import Document
from internlm2_data.page import Page

Value = float | int | str


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing to say."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The document goes.

    Attributes:
        rule: Which rule, "family.name".
        value: What was measured.
        threshold: The limit that it broke, if there is one.
    """

    rule: str
    value: Value
    threshold: Value | None = None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The document gets another text.

    Attributes:
        text: The new text.
        rule: Which rule, "family.name".
        value: How much of it, for example the number of lines.
    """

    text: str
    rule: str
    value: Value


@dataclass(frozen=True, slots=True)
class Score:
    """The document is kept, and its score is noted."""

    rule: str
    value: Value


Verdict = Keep | Drop | Rewrite | Score
KEEP = Keep()


class Rule(Protocol):
    """A rule judges pages in batches, because classifiers are only fast in batches."""

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """One verdict a page, in order."""


Rules = Mapping[str, Rule | None]
"""Rules of a stage by name, in order. None where one is not configured."""


def apply(verdict: Verdict, document: Document, stage: str) -> Document:
    """The document with the verdict carried out and noted in its trail.

    Args:
        verdict: What a rule said.
        document: The document.
        stage: Name of the stage.
    """
    if isinstance(verdict, Keep):
        return document
    note: dict[str, Value] = {"stage": stage, "rule": verdict.rule, "value": verdict.value}
    if isinstance(verdict, Drop):
        note |= {"action": "drop"} | ({} if verdict.threshold is None else {"threshold": verdict.threshold})
        return document.with_note(**note)
    action = "rewrite" if isinstance(verdict, Rewrite) else "score"
    noted = document.with_note(**note, action=action)
    return replace(noted, text=verdict.text) if isinstance(verdict, Rewrite) else noted
