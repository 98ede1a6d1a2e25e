"""`pipeline=tokens`."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from internlm2_data.cards import write_token_card
from internlm2_data.document import Document
from internlm2_data.executor import Executor
from internlm2_data.fingerprint import fingerprint
from internlm2_data.io.documents import read_documents
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.io.items import Fault, Passed
from internlm2_data.stages.funnel import show_faults, show_passed
from internlm2_data.stages.manifest import undone, write_json
from internlm2_data.stages.run import Shard, StageRun, input_shards, no_document, remove_others
from internlm2_data.stores import InputFile, size_of
from internlm2_data.stores.outputs import send
from internlm2_data.tokens.encoding import END_OF_DOCUMENT, TextEncoder
from internlm2_data.tokens.fast import OtherIdsError
from internlm2_data.tokens.token_file import part_file, part_name
from internlm2_data.tokens.token_writer import TokenWriter, join

log = logging.getLogger(__name__)

BATCH_DOCUMENTS = 64
KINDS = ("train", "heldout", "long")
MAX_PARTS = 500
"""Shards of an input. Each leaves a file of tokens for each language and source, and a reader maps them all."""

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class TokensPipeline:
    """Writes `train/CELL` and `heldout/CELL` token files, one a language and source ("zh-news"), and `long/CELL`.

    Documents with a class of quality have files of their own: "python-code-high".

    Whether a document is held out depends on its id alone, so that it is the same in every run and for every
    tokenizer, and a held-out document is held out of the long files too.

    Attributes:
        tokenizer: Path of a `tokenizer.json`.
        heldout: Share of documents to hold out.
        long: Inputs of long documents, which the long phase sees on top.
        shard_bytes: Small inputs are grouped to shards of about this size, of large inputs to `MAX_PARTS` shards.
        end: Name of the token that ends a document. None ends none.
    """

    tokenizer: str
    heldout: float = 0.02
    long: Sequence[str] = field(default_factory=list)
    shard_bytes: int = 8 << 20
    end: str | None = END_OF_DOCUMENT

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """See `Pipeline`. Inputs are documents that the other pipelines left. None, where there are long ones."""
        if not 0 <= self.heldout < 1:
            raise ValueError(f"heldout={self.heldout} must be in [0, 1).")
        encoder = TextEncoder(self.tokenizer, self.end)
        run = StageRun(output, executor, store=store)
        # With long documents alone there need be no others.
        tasks = self._tasks(inputs, encoder, output, "text", store) if inputs or not self.long else []
        if self.long:
            tasks += self._tasks(self.long, encoder, output, "long", store)
        # Of shards that this run does not have, nothing may say that they are done: what they left is removed.
        remove_others((output / "_shards").glob("*/manifest.json"), {task.manifest for task in tasks})
        run.work("tokens", _encode_task, undone(tasks))
        manifests = [json.loads(task.manifest.read_text("utf-8")) for task in tasks]
        faults = [fault for manifest in manifests for fault in manifest["faults"]]
        passed: Counter[str] = sum((Counter(manifest["passed"]) for manifest in manifests), Counter())
        if not any(manifest["places"] for manifest in manifests):
            raise no_document([*inputs, *self.long], len(faults), faults, passed)
        cards = _join(tasks, manifests, output, encoder)
        report = {"inputs": [*map(str, inputs), *map(str, self.long)], "files": cards}
        write_json(output / "tokens.json", report | {"faults": faults, "passed": passed})
        write_token_card(output, cards)
        _show(cards, faults, passed)

    def _tasks(
        self, inputs: Sequence[str], encoder: TextEncoder, output: Path, kind: str, store: str | None
    ) -> list["EncodeTask"]:
        files = expand_inputs(inputs)
        total = sum(map(size_of, files))
        shards = input_shards(files, max(self.shard_bytes, total // MAX_PARTS))
        return [
            EncodeTask(
                shard, encoder, self.heldout, kind, number, output / "_shards" / f"{kind}-{number:05d}",
                fingerprint(shard.made_by, encoder, self.heldout, kind), store,
            )
            for number, shard in enumerate(shards)
        ]  # fmt: skip


@dataclass(frozen=True)
class EncodeTask:
    """Encoding one shard into token files of its own."""

    shard: Shard
    encoder: TextEncoder
    heldout: float
    kind: str
    number: int
    folder: Path
    made_by: str
    store: str | None

    @property
    def manifest(self) -> Path:
        """Where it is written that this was done."""
        return self.folder / "manifest.json"

    def place(self, document: Document) -> str | None:
        """Which file a document goes to, "train/zh-news". None leaves it out."""
        held = is_held_out(document.id, self.heldout)
        name = f"{document.cell}-{document.quality}".removesuffix("-")
        if self.kind == "long":
            return None if held else f"long/{name}"
        return f"{'heldout' if held else 'train'}/{name}"


def is_held_out(document_id: str, share: float) -> bool:
    """Whether a document is held out, by the first 32 bits of its id.

    Args:
        document_id: 32 hex digits.
        share: Share of documents to hold out.
    """
    return int(document_id[:8], 16) < share * 2**32


def _encode_task(task: EncodeTask) -> None:
    """Encode a shard. The manifest is written last."""
    try:
        manifest = _encoded(task, fast=True)
    except OtherIdsError as other:
        log.warning("gigatoken encodes %r otherwise than tokenizers does, which takes over.", other.text[:80])
        manifest = _encoded(task, fast=False)
    if task.store is not None:
        for place in manifest["places"]:
            send(Path(f"{task.folder / place}.bin"), part_file(f"{task.store}/{place}", part_name(task.number)))
    write_json(task.manifest, {"made_by": task.made_by, **manifest})


def _encoded(task: EncodeTask, fast: bool) -> dict[str, Any]:
    counts: dict[str, dict[str, Any]] = {}
    faults: list[dict[str, Any]] = []
    passed: Counter[str] = Counter()
    documents = _documents(task.shard.files, faults, passed)
    with ExitStack() as stack:
        writers: dict[str, TokenWriter] = {}
        while batch := list(islice(documents, BATCH_DOCUMENTS)):
            for document, ids in zip(batch, task.encoder.arrays([d.text for d in batch], fast), strict=True):
                if (place := task.place(document)) is None:
                    passed["long document that is held out"] += 1
                    continue
                if place not in writers:
                    writers[place] = stack.enter_context(TokenWriter(task.folder / place, task.encoder.vocabulary))
                    counts[place] = {"documents": 0, "bytes": 0, "quality": document.quality}
                writers[place].add(ids, document.id)
                counts[place]["documents"] += 1
                counts[place]["bytes"] += document.num_bytes
    return {"places": counts, "faults": faults, "passed": passed}


def _join(tasks: Sequence[EncodeTask], manifests: Records, output: Path, encoder: TextEncoder) -> Records:
    """Make one token file a place of the files that the shards left. Returns the cards."""
    places = sorted({place for manifest in manifests for place in manifest["places"]})
    cards = []
    for place in places:
        shards = [
            (part_name(task.number), task.folder / place, manifest["places"][place])
            for task, manifest in zip(tasks, manifests, strict=True)
            if place in manifest["places"]
        ]
        about = {
            "name": place,
            "bytes": sum(counts["bytes"] for *_, counts in shards),
            "quality": shards[0][-1]["quality"],
            "tokenizer_sha256": encoder.sha256,
            "begin": encoder.begin,
            "end": encoder.end,
        }
        cards.append(join(output / place, {part: stem for part, stem, _ in shards}, about))
    _remove_others(output, cards)
    return cards


def _remove_others(output: Path, cards: Records) -> None:
    """Remove what an earlier run with other inputs left."""
    wanted = set()
    for card in cards:
        path = output / card["name"]
        wanted |= {Path(part_file(path, part)) for part in card["parts"]}
        wanted |= {Path(f"{path}{ending}") for ending in (".offsets.npy", ".documents.npy", ".json")}
    remove_others((path for kind in KINDS for path in (output / kind).glob("*")), wanted)


def _show(cards: Records, faults: Records, passed: Mapping[str, int]) -> None:
    """Print a table of the files, the first fault, and what was passed over."""
    table = Table(title="token files")
    for column in ("file", "documents", "tokens", "bytes/token"):
        table.add_column(column, justify="left" if column == "file" else "right")
    for card in cards:
        ratio = card["bytes"] / max(1, card["tokens"])
        table.add_row(card["name"], str(card["documents"]), str(card["tokens"]), f"{ratio:.2f}")
    console = Console()
    console.print(table)
    show_faults(console, len(faults), faults)
    show_passed(console, passed)


def _documents(files: Sequence[InputFile], faults: list[dict[str, Any]], passed: Counter[str]) -> Iterator[Document]:
    for path in files:
        for document in read_documents(path):
            if isinstance(document, Fault):
                faults.append(document.to_json())
            elif isinstance(document, Passed):
                passed[document.reason] += 1
            elif document.text:
                yield document
            else:
                passed["document without text"] += 1
