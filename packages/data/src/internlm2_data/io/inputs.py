"""From input names to items."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from glob import glob
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

from internlm2_records.files import arrow, csv_rows, json_any, json_lines, parquet
from internlm2_records.streams import PACKED, UNREADABLE
from internlm2_records.tables import saved_files

from internlm2_data.io.items import Fault, Item, Passed, items_of
from internlm2_data.io.plain import read_html, read_text
from internlm2_data.io.warc import read_warc, read_wet
from internlm2_data.stores import (
    InputFile,
    StoreFile,
    files_below,
    here,
    is_remote,
    local,
    matches_of,
    names_in,
)

Reader = Callable[[Path], Iterator[Item | Fault | Passed]]

# Crawls hold bytes that are not UTF-8.
_lines = items_of(partial(json_lines, errors="replace"))
_table = items_of(csv_rows)

_TEXTS: dict[str, Reader] = {
    ".jsonl": _lines,
    ".jsonlines": _lines,
    ".ndjson": _lines,
    ".json": items_of(partial(json_any, errors="replace")),
    ".csv": _table,
    ".tsv": _table,
    ".txt": read_text,
    ".md": read_text,
    ".rst": read_text,
    ".html": read_html,
    ".htm": read_html,
}
READERS: dict[str, Reader] = {
    **{ending + packed: reader for ending, reader in _TEXTS.items() for packed in ("", *PACKED)},
    **{f".warc{packed}": read_warc for packed in ("", ".gz", ".zst")},
    **{f".wet{packed}": read_wet for packed in ("", ".gz", ".zst")},
    ".parquet": items_of(parquet),
    ".arrow": items_of(arrow),
}
_DESCRIPTIONS = ("readme.md", "license.txt", "license.md")
"""Files that describe records beside them, and are documents where there are none."""


# What the pipelines, and `internlm2 reproduce`, write beside documents.
REPORTS = frozenset({"counts.json", "tokens.json", "failed.json", "manifest.json"})


def reader_of(file: InputFile | PurePath) -> Reader | None:
    """The reader for a file's ending, the longest that fits."""
    name = file.name.lower()
    endings = sorted((e for e in READERS if name.endswith(e)), key=len)
    # Common Crawl calls its text files `.warc.wet.gz`.
    return READERS[endings[-1]] if endings else None


def expand_inputs(inputs: Sequence[str | Path]) -> list[InputFile]:
    """The files that input names mean: files as they are, folders with all they contain, glob patterns, also in stores.

    Args:
        inputs: Names, in whose order the result is. Within each it is sorted.

    Returns:
        Files, and local folders that `datasets.save_to_disk` wrote. Among them are files of folders that no reader
        knows: `read_items` passes those over, with a reason. Nothing is read from a store yet.

    Raises:
        FileNotFoundError: If a name matches nothing.
        StoreError: If a store does not answer.
        ValueError: If nothing is named, a file's ending is unknown, or a folder is a whole run of a pipeline.
    """
    if not inputs:
        raise ValueError("inputs=[] must name files or folders.")
    found: list[InputFile] = []
    for name in inputs:
        if is_remote(name):
            found += _of_store(str(name))
            continue
        # Path.glob takes no absolute pattern.
        matches = sorted(glob(str(name))) or [str(name)]  # noqa: PTH207
        for path in map(Path, matches):
            if not path.exists():
                raise FileNotFoundError(f"{path} does not exist.")
            found += _inside(path) if path.is_dir() else [_known(path)]
    if not any(reader_of(file) or (isinstance(file, Path) and file.is_dir()) for file in found):
        raise ValueError(
            f"inputs={[str(i) for i in inputs]} contain no file that can be read. Known endings are "
            f"{', '.join(READERS)}."
        )
    return list(dict.fromkeys(found))


def read_items(file: InputFile) -> Iterator[Item | Fault | Passed]:
    """The items of one file, or of a folder of `datasets`, with what is none in between.

    A file of a store is on this machine while its items are taken.
    """
    parts: Sequence[InputFile] = saved_files(file) if isinstance(file, Path) and file.is_dir() else [file]
    for part in parts:
        reader, ending = reader_of(part), PurePosixPath(part.name).suffix
        try:
            if reader is None:
                yield Passed(f"file ending in {ending}" if ending else "file without an ending")
            elif _describes(part):
                yield Passed("file that describes the records beside it")
            else:
                with here(part) as path:
                    read = _read(reader, path)
                    yield from read if path is part else _named(read, path, part)
        except OSError as error:
            yield Fault(str(part), 0, f"the file cannot be read: {error}")


def _read(reader: Reader, path: Path) -> Iterator[Item | Fault | Passed]:
    try:
        yield from reader(path)
    except (*UNREADABLE, ValueError) as error:
        yield Fault(str(path), 0, f"the file cannot be read: {error}")


def _named(items: Iterable[Item | Fault | Passed], copy: Path, file: InputFile) -> Iterator[Item | Fault | Passed]:
    """What was read of the copy of a file, under the name of the file."""
    for item in items:
        if isinstance(item, Fault):
            yield replace(item, file=str(file), what=item.what.replace(str(copy), str(file)))
        elif isinstance(item, Item) and item.record.get("url") == copy.resolve().as_uri():
            yield replace(item, record={**item.record, "url": str(file)})
        else:
            yield item


def _of_store(name: str) -> list[StoreFile]:
    try:
        matches = matches_of(name)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} does not exist.") from None
    found: list[StoreFile] = []
    for match in matches:
        found += _below(match) if isinstance(match, str) else [_known(match)]
    return found


def _below(folder: str) -> list[StoreFile]:
    """What `_inside` is of local folders."""
    files = files_below(folder)
    there = {str(file): file for file in files}
    others: set[str] = set()
    for file in files:
        parent = str(file).removesuffix(f"/{file.name}")
        if file.name == "funnel.json":
            raise _whole_run(parent, local(file))
        if file.name == "dataset_info.json" and (state := there.get(f"{parent}/state.json")):
            named = [part["filename"] for part in json.loads(local(state).read_text("utf-8"))["_data_files"]]
            beside = {name for name in there if name.rpartition("/")[0] == parent}
            others |= beside - {f"{parent}/{name}" for name in named}
    return [file for file in files if str(file) not in others and file.name not in REPORTS]


def _inside(folder: Path) -> list[Path]:
    if (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file():
        return [folder]
    if (folder / "funnel.json").is_file():
        raise _whole_run(str(folder), folder / "funnel.json")
    files: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith((".", "_")) or entry.name in REPORTS:
            continue
        if entry.is_dir():
            files += _inside(entry)
        else:
            files.append(entry)
    return files


def _whole_run(folder: str, funnel: Path) -> ValueError:
    *_, last = json.loads(funnel.read_text("utf-8"))["stages"]
    return ValueError(
        f"{folder} is a run of `internlm2 process`. It holds each document once a stage, and dropped ones too. "
        f"Name one of its stages, such as {folder}/{last['stage']}."
    )


def _describes(file: InputFile) -> bool:
    """Whether it is the card of a set of records."""
    if file.name.lower() not in _DESCRIPTIONS:
        return False
    if isinstance(file, Path):
        names = [other.name for other in file.parent.iterdir() if other.is_file()]
    else:
        names = names_in(str(file).removesuffix(f"/{file.name}"))
    return bool({reader_of(PurePosixPath(name)) for name in names} - {None, read_text, read_html})


SomeFile = TypeVar("SomeFile", Path, StoreFile)


def _known(file: SomeFile) -> SomeFile:
    if reader_of(file) is None:
        raise ValueError(f"The format of {file} is not known. Known endings are {', '.join(READERS)}.")
    return file
