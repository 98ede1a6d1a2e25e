"""Sieves: from the files of a shard to documents that are kept or not."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from internlm2_data.document import Document
from internlm2_data.io.inputs import read_items
from internlm2_data.io.items import Fault, Passed
from internlm2_data.io.shards import ShardReader
from internlm2_data.page import Page
from internlm2_data.stores import InputFile
from internlm2_data.verdict import Drop, Keep, Rule, Rules, apply
from internlm2_data.web.formatting import Format

Sifted = tuple[Document, bool] | Fault | Passed
BATCH_DOCUMENTS = 256


class Sieve(Protocol):
    """A stage's work on one shard. It pickles, and holds its configuration in public attributes."""

    @property
    def absent(self) -> Sequence[str]:
        """What the stage could check and was not configured to."""

    def sift(self, files: Sequence[InputFile], stage: str) -> Iterator[Sifted]:
        """Documents in order, each with whether it is kept, and between them what is none."""


@dataclass(frozen=True)
class FormatSieve:
    """Reads inputs of any format.

    Attributes:
        format: Makes documents of items.
        absent: See `Sieve`.
    """

    format: Format
    absent: Sequence[str] = ()

    def sift(self, files: Sequence[InputFile], stage: str) -> Iterator[Sifted]:
        """See `Sieve`."""
        for path in files:
            for item in read_items(path):
                yield item if isinstance(item, Fault | Passed) else self.format.document(item, str(path))


@dataclass(frozen=True)
class RuleSieve:
    """Puts documents through rules, in order. Each rule sees what the ones before it made of a document.

    Attributes:
        rules: The rules.
        absent: See `Sieve`.
    """

    rules: Sequence[Rule]
    absent: Sequence[str] = ()

    @classmethod
    def of(cls, rules: Rules, absent: Sequence[str] = ()) -> "RuleSieve":
        """A sieve of the rules that are there, which says what is not.

        Args:
            rules: Rules by name, in order. None where one is not configured.
            absent: What else could be checked.
        """
        missing = [name for name, rule in rules.items() if rule is None]
        return cls([rule for rule in rules.values() if rule is not None], [*absent, *missing])

    def sift(self, files: Sequence[InputFile], stage: str) -> Iterator[Sifted]:
        """See `Sieve`."""
        documents = (document for path in files for document in ShardReader(path))
        while batch := list(islice(documents, BATCH_DOCUMENTS)):
            yield from self.judge(batch, stage)

    def judge(self, documents: Iterable[Document], stage: str) -> Iterator[tuple[Document, bool]]:
        """One batch of documents."""
        pages = [Page(document) for document in documents]
        dropped: dict[int, Document] = {}
        places = list(range(len(pages)))
        for rule in self.rules:
            verdicts = rule.judge([pages[place] for place in places])
            for place, verdict in zip(places, verdicts, strict=True):
                if isinstance(verdict, Keep):
                    continue
                page = pages[place]
                changed = apply(verdict, page.document, stage)
                if isinstance(verdict, Drop):
                    dropped[place] = changed
                elif changed.text is page.document.text:
                    page.document = changed
                else:
                    pages[place] = Page(changed)
            places = [place for place in places if place not in dropped]
        for place, page in enumerate(pages):
            yield (dropped[place], False) if place in dropped else (page.document, True)
