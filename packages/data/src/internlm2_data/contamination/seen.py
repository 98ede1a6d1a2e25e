"""Which parts of which fields a run was given."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from internlm2_data.contamination.items import Field
from internlm2_data.contamination.matching import Matcher
from internlm2_data.contamination.stream import Decode, Documents, Stretch, token_span
from internlm2_data.loading.rows import Span


@dataclass(frozen=True)
class Match:
    """A part of a field in a document of a run.

    Attributes:
        field: Number of the field.
        words: Words `[start, stop)` of the field.
        source: Token file, or ``conversations``.
        span: The document and its tokens.
        text: The characters of the document.
        steps: Steps at which a token of it was given, sorted. A checkpoint of step N has seen those up to N.
    """

    field: int
    words: tuple[int, int]
    source: str
    span: Span
    text: str
    steps: Sequence[int] = ()


@dataclass
class Seen:
    """What was found so far. Its memory grows with the fields, not with the training.

    Attributes:
        matcher: Finds fields in a text.
        decode: Spells the ids of a document.
        most: Parts of each field that are kept. Beyond them only those with words that no other part has.
        matches: The parts that were kept.
        further: How many parts were not, by number of the field.
        documents: How many documents were read.
        characters: How many characters they have.
    """

    matcher: Matcher
    decode: Decode
    most: int
    matches: list[Match] = field(default_factory=list)
    further: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    documents: int = 0
    characters: int = 0

    def read(self, stretch: Stretch, progress: Callable[[str, int, int], None]) -> None:
        """Find all fields in what a stretch of steps was given.

        Args:
            stretch: The steps.
            progress: Called with the name of a source, documents done, and all documents of it.
        """
        rows = stretch.rows()
        found: dict[int, list[Match]] = {}
        for number, top in sorted(rows.items()):
            documents: Documents = stretch.loader.sources[number]  # type: ignore[assignment]
            found[number] = self._search(documents, top, progress)
        given = stretch.steps_of({number: [match.span for match in own] for number, own in found.items()}, rows)
        for number, own in found.items():
            # The last row of a stretch may end inside of a document, and before the part that was found.
            self.matches += [
                replace(match, steps=given[number, index])
                for index, match in enumerate(own)
                if (number, index) in given
            ]

    def _search(self, documents: Documents, rows: int, progress: Callable[[str, int, int], None]) -> list[Match]:
        kept: list[Match] = []
        counts: dict[int, int] = defaultdict(int)
        covered: dict[int, set[int]] = defaultdict(set)
        given = documents.given(rows).tolist()
        for done, document in enumerate(given):
            ids = documents.ids(document).tolist()
            text = self.decode(ids)
            self.documents, self.characters = self.documents + 1, self.characters + len(text)
            for part in self.matcher.find(text):
                words = set(range(*part.in_field))
                if counts[part.field] >= self.most and words <= covered[part.field]:
                    self.further[part.field] += 1
                    continue
                counts[part.field] += 1
                covered[part.field] |= words
                span = Span(document, *token_span(ids, self.decode, *part.chars))
                kept.append(Match(part.field, part.in_field, documents.name, span, text[slice(*part.chars)]))
            progress(documents.name, done + 1, len(given))
        return kept

    def coverage(self, fields: Sequence[Field]) -> list[float]:
        """Share of the words of each field that the run was given, in whichever documents."""
        covered: dict[int, set[int]] = defaultdict(set)
        for match in self.matches:
            covered[match.field] |= set(range(*match.words))
        return [len(covered[number]) / each.size for number, each in enumerate(fields)]
