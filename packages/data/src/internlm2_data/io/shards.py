"""Shards: zstd JSONL or Parquet files of documents, written whole or not at all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from internlm2_records.streams import open_binary

from internlm2_data.document import Document
from internlm2_data.stores import InputFile, here
from internlm2_data.stores.outputs import followed

PARQUET_ROWS = 1000


class ShardWriter:
    """Writes documents to one shard. The file appears when the `with` block ends without an error.

    Args:
        path: `.../NAME.jsonl.zst` or `.../NAME.parquet`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(path.name + ".part")
        self._rows: list[dict[str, str]] = []
        self._parquet: pq.ParquetWriter | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        self._zstd = None
        if path.suffix != ".parquet":
            self._zstd = zstandard.ZstdCompressor(level=3).stream_writer(self._file, closefd=False)

    def add(self, document: Document) -> None:
        """Append one document."""
        record = document.to_json()
        if self._zstd is not None:
            self._zstd.write(dump_line(record))
            return
        plain = {k: json.dumps(record.get(k) or {}, ensure_ascii=False) for k in ("meta", "trail")}
        texts = {f: str(record.get(f, "")).encode("utf-8", "replace").decode() for f in PARQUET_TEXTS}
        self._rows.append(texts | plain)
        if len(self._rows) >= PARQUET_ROWS:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_pylist(self._rows, schema=PARQUET_SCHEMA)
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._file, PARQUET_SCHEMA, compression="zstd")
        self._parquet.write_table(table)
        self._rows = []

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._zstd is not None:
            self._zstd.close()
        elif kind is None:
            self._flush()
            assert self._parquet is not None
            self._parquet.close()
        self._file.close()
        if kind is None:
            self._part.replace(self.path)
        else:
            self._part.unlink()


PARQUET_TEXTS = ("id", "text", "source", "language", "type", "url", "dump", "date")
PARQUET_SCHEMA = pa.schema([(name, pa.string()) for name in (*PARQUET_TEXTS, "meta", "trail")])


def dump_line(record: dict[str, Any]) -> bytes:
    """One line of JSON. Lone surrogates, which some pages hold and UTF-8 cannot, become question marks."""
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


class ShardReader:
    """Iterates the documents of a shard that this package wrote.

    Args:
        path: ``.../NAME.jsonl.zst`` or ``.../NAME.parquet``. It may be a pointer to one in a store.
    """

    def __init__(self, path: InputFile) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Document]:
        with here(followed(self.path)) as path:
            yield from _parquet(path) if path.suffix == ".parquet" else _lines(path)


def _parquet(path: Path) -> Iterator[Document]:
    for batch in pq.ParquetFile(path).iter_batches(batch_size=PARQUET_ROWS):
        for row in batch.to_pylist():
            lists = {"meta": json.loads(row["meta"]) or {}, "trail": json.loads(row["trail"]) or []}
            yield Document.from_json(row | lists)


def _lines(path: Path) -> Iterator[Document]:
    with open_binary(path) as stream:
        for line in stream:
            yield Document.from_json(orjson.loads(line))
