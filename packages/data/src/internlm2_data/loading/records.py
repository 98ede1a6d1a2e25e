"""Records of files: JSON lines or a JSON list, plain or compressed (.gz, .zst), Parquet, or a folder of `datasets`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
from internlm2_records.streams import open_binary


def placed_records(path: Path) -> Iterator[tuple[str, Any]]:
    """The records of a file or folder, each after its place: ``FILE line 3`` of JSON lines, else ``FILE record 3``.

    Raises:
        FileNotFoundError: nothing is there, or a folder that `datasets` did not save.
        ValueError: a broken line, with its number; a JSON file that is no list; a folder of several splits.
    """
    if not path.exists():
        raise FileNotFoundError(f"no conversations at {path}: set conversations=[FILE]")
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    records: Iterable[Any]
    unit = "record"
    if path.is_dir():
        records = arrow_records(path)
    elif name.endswith(".parquet"):
        records = (row for batch in pq.ParquetFile(path).iter_batches(1024) for row in batch.to_pylist())
    elif name.endswith(".json"):
        records = json_list(path)
    else:
        unit, records = "line", json_lines(path)
    return ((f"{path} {unit} {number}", record) for number, record in enumerate(records, 1))


def json_list(path: Path) -> list[Any]:
    """The items of a file that is one JSON list.

    Raises:
        ValueError: it is something else.
    """
    with open_binary(path) as file:
        try:
            value = json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is no JSON list ({error}): call JSON lines {path.stem}.jsonl") from None
    if not isinstance(value, list):
        raise ValueError(f"{path} holds a {type(value).__name__}, no list of conversations: write [..., ...]")
    return value


def json_lines(path: Path) -> Iterator[Any]:
    """The values of a JSONL file.

    Raises:
        ValueError: for a broken line, with its number.
    """
    with open_binary(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path} line {number} is no JSON: {error}") from None
            yield record


def arrow_records(folder: Path) -> Iterator[Any]:
    """The rows of a folder that `datasets.Dataset.save_to_disk` wrote; what `datasets` cached beside them is no data.

    Raises:
        FileNotFoundError: the folder is none of those.
        ValueError: it is a `DatasetDict`, with its splits.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        raise ValueError(
            f"{folder} holds the splits {', '.join(splits)}: set conversations=[{folder / splits[0]}] or another one"
        )
    if not (folder / "state.json").is_file():
        raise FileNotFoundError(f"{folder} holds no state.json of datasets.save_to_disk: set conversations=[FILE]")
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return (row for part in state["_data_files"] for row in arrow_rows(folder / part["filename"]))


def arrow_rows(file: Path) -> Iterator[Any]:
    """The rows of an Arrow stream."""
    with pa.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as batches:
        for batch in batches:
            yield from batch.to_pylist()
