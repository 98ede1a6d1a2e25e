"""From a row of a training batch back to its documents and their records, and from a document to the steps that saw it.

    step, row ──plan of the loader──► parts of documents ──NAME.documents.npy──► ids ──inputs of the tokens──► records
    id ──NAME.documents.npy──► documents of token files ──plan of the loader──► steps and rows

Nothing of the training is repeated. A loader gives the same global batches on any number of ranks.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from internlm2_data.contamination.stream import Stretch, stretches_of
from internlm2_data.document import Document
from internlm2_data.io.documents import documents_of
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.loading.document_rows import DocumentRows
from internlm2_data.loading.mixture import Place
from internlm2_data.loading.rows import Span
from internlm2_data.stores import is_file, is_remote, local


@dataclass(frozen=True)
class Piece:
    """A part of a document in a row of a batch.

    Attributes:
        row: Of the global batch. The first one is row 1.
        tokens: Its tokens `[start, stop)` of the row.
        source: The token file, or ``conversations``.
        document: Number of the document in it, of those that are long enough where only long ones count.
        of_document: Its tokens `[start, stop)` of the document.
        id: Of the document. Empty where the source does not say.
    """

    row: int
    tokens: tuple[int, int]
    source: str
    document: int
    of_document: tuple[int, int]
    id: str

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)


@dataclass(frozen=True)
class Sight:
    """A row that held a part of a document.

    Attributes:
        step: The first one is step 1, and ``step-1.ckpt`` has seen it.
        row: Of the global batch. The first one is row 1.
        source: The token file.
    """

    step: int
    row: int
    source: str

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)


def pieces_of(batches: Any, step: int, row: int | None = None) -> list[Piece]:
    """What a batch was made of.

    Args:
        batches: What the run was trained on: `PackedBatches`, `ChatBatches`, or several phases.
        step: Of the run, from 1.
        row: Of the global batch, from 1. None takes all rows.

    Raises:
        ValueError: If the step or the row is out of range.
    """
    if step < 1:
        raise ValueError(f"step={step} must be 1 or more.")
    # A stretch ends where the next phase begins, so the last one holds the step.
    *_, stretch = stretches_of(batches, step)
    *_, places = stretch.loader.places(step - stretch.before)
    if row is not None and not 1 <= row <= len(places):
        raise ValueError(f"row={row} must be between 1 and {len(places)}, the rows of step {step}.")
    wanted = range(1, len(places) + 1) if row is None else [row]
    return [piece for number in wanted for piece in _pieces_of_row(stretch, number, *places[number - 1])]


def _pieces_of_row(stretch: Stretch, number: int, source: int, index: int) -> Iterator[Piece]:
    if source < 0:
        return
    rows: Any = stretch.loader.sources[source]
    place = 0
    for document, start, stop in rows.parts(index):
        tokens = (place, place := place + stop - start)
        yield Piece(number, tokens, rows.name, document, (start, stop), _id_of(rows, document))


def _id_of(rows: Any, document: int) -> str:
    return rows.source.document_id(document) if isinstance(rows, DocumentRows) else ""


def sights_of(batches: Any, id: str, steps: int) -> list[Sight]:
    """The steps and rows that held a part of a document, in order.

    Args:
        batches: What the run was trained on.
        id: Of the document, or the beginning of it.
        steps: Steps of the run that count.

    Raises:
        ValueError: If no document of the token files has this id.
    """
    if not re.fullmatch("[0-9a-f]{1,32}", id):
        raise ValueError(f"id={id} must be the beginning of 32 hex digits.")
    found: set[Sight] = set()
    is_known = False
    for stretch in stretches_of(batches, steps):
        names: dict[Place, str] = {}
        for number, top in stretch.rows().items():
            rows: Any = stretch.loader.sources[number]
            documents = rows.source.numbers_of(id) if isinstance(rows, DocumentRows) else []
            is_known = is_known or bool(documents)
            spans = [Span(document, 0, int(rows.source.lengths[document])) for document in documents]
            names |= {Place(number, row): rows.name for _, row in rows.rows_of(spans, top)}
        for step, places in enumerate(stretch.loader.places(stretch.steps), stretch.before + 1):
            found |= {Sight(step, row, names[place]) for row, place in enumerate(places, 1) if place in names}
    if not is_known:
        raise ValueError(f"id={id} is not a document of the token files that the run has read from.")
    return sorted(found, key=lambda sight: (sight.step, sight.row))


def records_of(pieces: Sequence[Piece]) -> Mapping[str, Document]:
    """The documents of some pieces by their ids, as they are in the inputs that the token files were made of.

    Of a page, ``meta`` says in which WARC file it is and at which byte. Inputs that are gone are left out.
    """
    found: dict[str, Document] = {}
    for run in sorted({piece.source.rpartition("/")[0].rpartition("/")[0] for piece in pieces if piece.id}):
        missing = {piece.id for piece in pieces if piece.id} - set(found)
        for document in _documents(run) if missing else ():
            if document.id in missing:
                found[document.id] = document
                missing.remove(document.id)
                if not missing:
                    break
    return found


def _documents(run: str) -> Iterator[Document]:
    report = f"{run or '.'}/tokens.json"
    inputs = json.loads(local(report).read_text("utf-8"))["inputs"] if is_file(report) else []
    there = [name for name in inputs if is_remote(name) or Path(name).exists()]
    return documents_of(expand_inputs(there) if there else ())


def print_pieces(pieces: Sequence[Piece], as_json: bool) -> None:
    """Print parts of documents with where they come from.

    Args:
        pieces: The parts.
        as_json: Print JSON instead of lines.
    """
    records = records_of(pieces)
    if as_json:
        told = {id: document.to_json() | {"text": document.text[:200]} for id, document in records.items()}
        print(json.dumps([piece.to_json() | {"record": told.get(piece.id)} for piece in pieces], ensure_ascii=False))
        return
    for piece in pieces:
        start, stop = piece.tokens
        print(f"row {piece.row}, tokens {start} to {stop}: {piece.source}, document {piece.document} {piece.id}")
        if document := records.get(piece.id):
            print(f"    {document.url or 'no URL'}  {_record(document)}")


def _record(document: Document) -> str:
    """The file that a document was read from, and the place in it, as far as the file said."""
    meta = document.meta
    place = f" at byte {meta['offset']:,}" if isinstance(meta.get("offset"), int) else ""
    return " ".join(str(part) for part in (document.dump, meta.get("file", meta.get("folder", ""))) if part) + place


def print_sights(sights: Sequence[Sight], as_json: bool) -> None:
    """Print the steps that saw a document.

    Args:
        sights: The rows that held it.
        as_json: Print JSON instead of lines.
    """
    if as_json:
        print(json.dumps([sight.to_json() for sight in sights]))
        return
    for sight in sights:
        print(f"step {sight.step}, row {sight.row}: {sight.source}")
