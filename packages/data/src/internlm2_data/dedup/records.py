"""What is kept of a shard's documents between signing and resolving."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from internlm2_data.dedup.settings import DedupSettings
from internlm2_data.dedup.signing import sign
from internlm2_data.document import CODE_TYPES, Document
from internlm2_data.io.shards import ShardReader
from internlm2_data.stores import InputFile

BATCH_DOCUMENTS = 512


@dataclass
class ShardRecords:
    """Columns over the documents of one shard or many, in order.

    Attributes:
        ids: 32 hex digits each.
        exact: See `Signatures`.
        url: Hash of the normalised URL, 0 for none, uint64.
        newness: Dump and date as text that sorts. The greater is the newer.
        minima: Uint32 [documents, 128].
        sizes: Number of shingles, int32.
    """

    ids: npt.NDArray[np.bytes_]
    exact: npt.NDArray[np.uint64]
    url: npt.NDArray[np.uint64]
    newness: npt.NDArray[np.bytes_]
    minima: npt.NDArray[np.uint32]
    sizes: npt.NDArray[np.int32]

    def save(self, path: Path) -> None:
        """Write them, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part.npz")
        np.savez(part, **vars(self))
        part.replace(path)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> "ShardRecords":
        """Read and join the records of many shards, holding one shard's twice at the most."""
        counts = [len(_column(path, "sizes")) for path in paths]
        ends = np.cumsum([0, *counts])
        columns: dict[str, Any] = {}
        for name in cls.__dataclass_fields__:
            parts = (_column(path, name) for path in paths)
            if name == "newness":
                columns[name] = np.concatenate(list(parts))
                continue
            for place, part in enumerate(parts):
                if place == 0:
                    columns[name] = np.empty((ends[-1], *part.shape[1:]), part.dtype)
                columns[name][ends[place] : ends[place + 1]] = part
        return cls(**columns)


def _column(path: Path, name: str) -> npt.NDArray[Any]:
    with np.load(path, allow_pickle=False) as file:
        return np.asarray(file[name])


def sign_shard(files: Sequence[InputFile], settings: DedupSettings) -> ShardRecords:
    """Records of a shard's documents.

    Args:
        files: Files of the shard.
        settings: Settings of deduplication.
    """
    documents = (document for path in files for document in ShardReader(path))
    columns: dict[str, list[Any]] = {name: [] for name in ("ids", "url", "newness")}
    parts = [sign([], [], settings)]
    while batch := list(islice(documents, BATCH_DOCUMENTS)):
        parts.append(sign([d.text for d in batch], [is_code(d) for d in batch], settings))
        _describe(batch, columns)
    return ShardRecords(
        np.array(columns["ids"], "S32"),
        np.concatenate([part.exact for part in parts]),
        np.array(columns["url"], np.uint64),
        np.array(columns["newness"], np.bytes_) if columns["newness"] else np.empty(0, "S1"),
        np.concatenate([part.minima for part in parts]),
        np.concatenate([part.sizes for part in parts]),
    )


def is_code(document: Document) -> bool:
    """Whether white space means nothing in it."""
    return document.type in CODE_TYPES


def normal_url(url: str) -> str:
    """A URL without scheme, www., fragment and trailing slash, its host in lower case."""
    rest = url.split("://", 1)[-1].split("#", 1)[0]
    host, slash, path = rest.partition("/")
    return host.lower().removeprefix("www.") + (slash + path).rstrip("/")


def _describe(batch: Iterable[Document], columns: dict[str, list[Any]]) -> None:
    for document in batch:
        columns["ids"].append(document.id.encode())
        url = normal_url(document.url) if document.type == "webpage" else ""
        columns["url"].append(xxhash.xxh3_64_intdigest(url.encode("utf-8", "replace")) if url else 0)
        columns["newness"].append(f"{document.dump}\x01{document.date}".encode())
