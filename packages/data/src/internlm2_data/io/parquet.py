"""Parquet files and folders of `datasets.save_to_disk`, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
        yield item_of(record, file, number, "row")
