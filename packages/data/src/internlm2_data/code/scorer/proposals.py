"""Which files people are asked to look at next."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from itertools import islice, zip_longest

from internlm2_records import Record

from internlm2_data.classifiers.classifier import Classifier
from internlm2_data.code.quality import HIGH, LOW, quality
from internlm2_data.code.scorer.fitting import Fitted
from internlm2_data.code.scorer.labels import MAX_CHARACTERS, Labelled
from internlm2_data.document import Document, content_id
from internlm2_data.io.documents import read_documents
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.page import Page

Row = tuple[Document, Record]
BATCH = 256


@dataclass
class Drawing:
    """Draws files by chance, as many of each language as there are, in bounded memory.

    Attributes:
        size: Files to keep of each language and class.
        seed: Another one draws other files.
        counts: What became of all documents.
    """

    size: int
    seed: str
    counts: dict[str, int] = field(default_factory=dict)
    _kept: dict[tuple[str, str], list[tuple[int, str, Document, float]]] = field(default_factory=dict)

    def count(self, what: str) -> None:
        """Count one document."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def add(self, document: Document, name: str, score: float) -> None:
        """Let a file take part.

        Args:
            document: The file.
            name: Its class.
            score: Its score.
        """
        kept = self._kept.setdefault((name, document.language), [])
        place = -int(content_id(self.seed, document.id)[:15], 16)
        # The heap's first is the worst of those that are kept, the one with the largest number.
        (heappush if len(kept) < self.size else heappushpop)(kept, (place, document.id, document, score))

    def drawn(self, name: str) -> list[Row]:
        """The files of a class, one of each language after the other.

        Args:
            name: The class.
        """
        languages = [sorted(kept, reverse=True) for (of, _), kept in sorted(self._kept.items()) if of == name]
        rows = (row for turn in zip_longest(*languages) for row in turn if row is not None)
        return [(document, {"proposed": name, "score": score}) for _, _, document, score in islice(rows, self.size)]


def confident(inputs: Sequence[str], fitted: Fitted, known: Iterable[str], size: int, seed: str) -> Drawing:
    """Files that the scorer calls high or low with confidence.

    Args:
        inputs: Documents, as a stage left them.
        fitted: The scorer.
        known: Ids of files that have a label.
        size: Files of each class.
        seed: Of the drawing.
    """
    drawing = Drawing(size, seed)
    for batch in _batches(inputs, frozenset(known), drawing):
        for document, score in zip(batch, _scores(fitted.model, batch), strict=True):
            name = "low" if score < fitted.low else "high" if score >= fitted.high else "moderate"
            drawing.count(name)
            if name != "moderate":
                drawing.add(document, name, round(score, 4))
    return drawing


def by_rules(inputs: Sequence[str], size: int, seed: str) -> Drawing:
    """Files for a first round, in which nothing is known. Some of each class by rules.

    Args:
        inputs: Documents, as a stage left them.
        size: Files of each class.
        seed: Of the drawing.
    """
    drawing = Drawing(size, seed)
    for batch in _batches(inputs, frozenset(), drawing):
        for document in batch:
            score = quality(Page(document))
            name = "low" if score < LOW else "high" if score >= HIGH else "moderate"
            drawing.count(name)
            drawing.add(document, name, round(score, 4))
    return drawing


def second_looks(files: Sequence[Labelled], fitted: Fitted) -> list[Row]:
    """Labels that the scorer contradicts, the plainest first. What people have looked at twice is left as it is.

    Args:
        files: Labelled files.
        fitted: The scorer, with a score of each.
    """
    pairs = sorted(zip(fitted.scores, files, strict=True), key=lambda pair: (-abs(pair[0] - 0.5), pair[1].id))
    return [
        (_document(file), {"was": file.label, "score": round(float(score), 4)})
        for score, file in pairs
        if file.seen < 2 and fitted.contradicts(file.label, score)
    ]


def _document(file: Labelled) -> Document:
    place = {"repository": file.group, **({"path": file.path} if file.path else {})}
    return Document(file.text, source="code", language=file.language, type="code", meta=place, id=file.id)


def _scores(model: Classifier, batch: Sequence[Document]) -> list[float]:
    scores: list[float] = model.scores([document.text[:MAX_CHARACTERS] for document in batch])[:, 0].tolist()
    return scores


def _batches(inputs: Sequence[str], known: frozenset[str], drawing: Drawing) -> Iterator[list[Document]]:
    """Files of code that have no label, in batches. What is something else is counted."""
    batch: list[Document] = []
    for path in expand_inputs(inputs):
        for document in read_documents(path):
            if not isinstance(document, Document):
                drawing.count("not read")
            elif document.type != "code":
                drawing.count(f"of type {document.type}, not code")
            elif document.id in known:
                drawing.count("labelled already")
            else:
                batch.append(document)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch
