"""`pipeline=written`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

from internlm2_records.progress import LineProgress
from rich.console import Console
from rich.table import Table

from internlm2_data.document import Document
from internlm2_data.executor import Executor
from internlm2_data.miniature.written.hay import Hay, gather_hay
from internlm2_data.miniature.written.instructions.words import LANGUAGES
from internlm2_data.miniature.written.kinds import KINDS
from internlm2_data.stages.manifest import write_json


@dataclass(frozen=True)
class WrittenPipeline:
    """Writes KIND.jsonl for each kind of document and `counts.json`. The same seed and inputs give the same bytes.

    The inputs are documents that people wrote. Their sentences lie between the facts.

    Attributes:
        sizes: Bytes of text by kind, half of it in each language. A kind without a size is left out.
        seed: Of all that is drawn.
        hay_characters: Characters of a language to take sentences from.
        heldout: Share of the inputs that `pipeline=tokens` holds out. Facts are not hidden in those.
    """

    sizes: Mapping[str, int]
    seed: int = 1
    hay_characters: int = 4_000_000
    heldout: float = 0.02

    def __post_init__(self) -> None:
        """Check the kinds."""
        if unknown := set(self.sizes) - set(KINDS):
            raise ValueError(f"sizes name {sorted(unknown)}, but the kinds are {sorted(KINDS)}.")

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """See `Pipeline`. Done again each time, which takes a few seconds.

        Raises:
            ValueError: If there are no inputs, or they lack English or Chinese sentences.
        """
        if not inputs:
            raise ValueError("inputs=[] must name documents to hide facts in.")
        hay = gather_hay(inputs, self.hay_characters, self.heldout)
        # What an earlier run wrote of them would be read with the others.
        for kind in KINDS.keys() - self.sizes.keys():
            (output / f"{kind}.jsonl").unlink(missing_ok=True)
        counts = {}
        with LineProgress() as progress:
            for kind, size in progress.track(self.sizes.items(), description="written documents"):
                counts[kind] = _write_documents(output / f"{kind}.jsonl", written(kind, size, self.seed, hay))
        write_json(output / "counts.json", {"seed": self.seed, "kinds": counts})
        _show(counts)


def written(kind: str, size: int, seed: int, hay: Hay) -> Iterator[Document]:
    """Documents of a kind, the languages in turn, until each has its half of the bytes.

    Args:
        kind: A name of `KINDS`.
        size: Bytes of text.
        seed: What is drawn depends on it and the kind.
        hay: Sentences that people wrote.
    """
    rng = Random(f"{seed}/{kind}")
    room = dict.fromkeys(LANGUAGES, size / len(LANGUAGES))
    for number in count():
        language = LANGUAGES[number % len(LANGUAGES)]
        if max(room.values()) <= 0:
            return
        if room[language] > 0:
            # The place is named: two short documents may have the same text, and an id must still be one document's.
            url = f"written:{seed}/{kind}/{number}"
            document = Document(KINDS[kind](rng, language, hay), kind, language, "written", url)
            room[language] -= document.num_bytes
            yield document


def _write_documents(path: Path, documents: Iterator[Document]) -> dict[str, dict[str, int]]:
    """Write a JSONL file, whole or not at all. Returns documents and bytes by language."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    counts = {language: {"documents": 0, "bytes": 0} for language in LANGUAGES}
    with part.open("w", encoding="utf-8") as out:
        for document in documents:
            out.write(json.dumps(document.to_json(), ensure_ascii=False) + "\n")
            cell = next(counts[language] for language in LANGUAGES if language == document.language)
            cell["documents"] += 1
            cell["bytes"] += document.num_bytes
    part.replace(path)
    return {str(language): cell for language, cell in counts.items()}


def _show(counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> None:
    """Print a table of the kinds."""
    table = Table(title="documents written by rule")
    for column in ("kind", "language", "documents", "bytes"):
        table.add_column(column, justify="left" if column in ("kind", "language") else "right")
    for kind, languages in counts.items():
        for language, cell in languages.items():
            table.add_row(kind, language, str(cell["documents"]), str(cell["bytes"]))
    Console().print(table)
