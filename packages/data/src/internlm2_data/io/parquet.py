"""Parquet files and folders of `datasets.save_to_disk`, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from internlm2_data.io.items import Fault, Item
from internlm2_data.io.jsonl import item_of


def read_parquet(path: Path) -> Iterator[Item | Fault]:
    """One item a row."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        yield Fault(str(path), 0, f"no readable Parquet file: {error}")
        return
    row = 0
    for batch in file.iter_batches(batch_size=1024):
        yield from _rows(batch, str(path), row)
        row += batch.num_rows


def read_arrow_folder(folder: Path) -> Iterator[Item | Fault]:
    """One item a row of every Arrow file in a folder."""
    for path in sorted(folder.glob("*.arrow")):
        try:
            with pa.memory_map(str(path)) as source:
                row = 0
                for batch in pyarrow.ipc.open_stream(source):
                    yield from _rows(batch, str(path), row)
                    row += batch.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            yield Fault(str(path), 0, f"no readable Arrow file: {error}")


def _rows(batch: pa.RecordBatch, file: str, first: int) -> Iterator[Item | Fault]:
    for number, record in enumerate(batch.to_pylist(), first):
        yield item_of(_plain(record), file, number, "row")


def _plain(value: Any) -> Any:
    """A value in JSON types: times and numbers that it lacks as text, binary data as null."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, bytes):
        return None
    if isinstance(value, date | time):
        return value.isoformat()
    return value if isinstance(value, str | int | float) else str(value)
