"""Rows of Parquet and Arrow files in JSON types. pyarrow is imported only when such a file is read."""

import json
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 1024


class Row(NamedTuple):
    """One row.

    Attributes:
        value: Its cells by column, in JSON types.
        fault: Why it cannot be read, as the end of a sentence. Empty if it can.
    """

    value: Any
    fault: str = ""


def parquet_rows(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file.

    Raises:
        ValueError: If it is not one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE):
            yield from _rows(batch)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {error}.") from error


def arrow_rows(path: Path) -> Iterator[Row]:
    """The rows of an Arrow file, in the stream format that ``datasets`` writes or in the file format.

    Raises:
        ValueError: If it is neither.
    """
    import pyarrow as pa
    import pyarrow.ipc

    try:
        with pa.memory_map(str(path)) as source:
            if source.read(6) == b"ARROW1":
                file = pyarrow.ipc.open_file(source)
                batches = map(file.get_batch, range(file.num_record_batches))
            else:
                source.seek(0)
                batches = iter(pyarrow.ipc.open_stream(source))
            for batch in batches:
                yield from _rows(batch)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable Arrow file: {error}.") from error


def _rows(batch: "pa.RecordBatch") -> Iterator[Row]:
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        # Some cell has no Python value. Only the rows that hold such a cell suffer.
        yield from (_row(batch, number) for number in range(batch.num_rows))
        return
    for row in rows:
        yield Row(in_json_types(row))


def _row(batch: "pa.RecordBatch", number: int) -> Row:
    cells = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            cells[name] = in_json_types(column[number].as_py())
        except UnicodeDecodeError as error:
            return Row(None, f"is not UTF-8 in column {name} ({error.reason})")
        except (ValueError, OverflowError):
            # A date or time beyond the years that Python has: Arrow's own text.
            cells[name] = str(column[number : number + 1].cast("string")[0])
    return Row(cells)


def saved_files(folder: Path) -> list[Path]:
    """The Arrow files of a folder that ``datasets.save_to_disk`` wrote, without what ``datasets`` cached beside them.

    Returns:
        Files in order. Empty for any other folder.

    Raises:
        ValueError: If the folder holds several splits.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = json.loads((folder / "dataset_dict.json").read_text("utf-8"))["splits"]
        raise ValueError(f"{folder} holds the splits {', '.join(splits)}. Name one, such as {folder / splits[0]}.")
    if not (folder / "state.json").is_file():
        return []
    named = json.loads((folder / "state.json").read_text("utf-8")).get("_data_files")
    return [folder / part["filename"] for part in named] if named else sorted(folder.glob("*.arrow"))


def in_json_types(value: Any) -> Any:
    """A value in JSON types: times and numbers that JSON lacks as text, binary data as null."""
    if isinstance(value, dict):
        return {key: in_json_types(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [in_json_types(part) for part in value]
    if value is None or isinstance(value, bytes):
        return None
    if isinstance(value, date | time):
        return value.isoformat()
    return value if isinstance(value, str | int | float) else str(value)
