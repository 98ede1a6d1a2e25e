"""From input names to items."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from glob import glob
from pathlib import Path

from internlm2_records.files import arrow, csv_rows, json_any, json_lines, parquet
from internlm2_records.streams import PACKED, UNREADABLE
from internlm2_records.tables import saved_files

from internlm2_data.io.items import Fault, Item, Passed, items_of
from internlm2_data.io.plain import read_html, read_text
from internlm2_data.io.warc import read_warc, read_wet
from internlm2_data.stores import fetched, files_of, is_remote

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


def reader_of(path: Path) -> Reader | None:
    """The reader for a file's ending, the longest that fits."""
    name = path.name.lower()
    endings = sorted((e for e in READERS if name.endswith(e)), key=len)
    # Common Crawl calls its text files `.warc.wet.gz`.
    return READERS[endings[-1]] if endings else None


def expand_inputs(inputs: Sequence[str | Path]) -> list[Path]:
    """The files that input names mean: files as they are, folders with all they contain, glob patterns, also in stores.

    Args:
        inputs: Names, in whose order the result is. Within each it is sorted.

    Returns:
        Files, and folders that `datasets.save_to_disk` wrote. Among them are files of folders that no reader knows:
        `read_items` passes those over, with a reason.

    Raises:
        FileNotFoundError: If a name matches nothing.
        ValueError: If nothing is named, a file's ending is unknown, or a folder is a whole run of a pipeline.
    """
    if not inputs:
        raise ValueError("inputs=[] must name files or folders.")
    found: list[Path] = []
    for name in inputs:
        if is_remote(name):
            found += [_known(fetched(file)) if file == name else fetched(file) for file in files_of(str(name))]
            continue
        # Path.glob takes no absolute pattern.
        matches = sorted(glob(str(name))) or [str(name)]  # noqa: PTH207
        for path in map(Path, matches):
            if not path.exists():
                raise FileNotFoundError(f"{path} does not exist.")
            found += _inside(path) if path.is_dir() else [_known(path)]
    if not any(path.is_dir() or reader_of(path) for path in found):
        raise ValueError(
            f"inputs={[str(i) for i in inputs]} contain no file that can be read. Known endings are "
            f"{', '.join(READERS)}."
        )
    return list(dict.fromkeys(found))


def read_items(path: Path) -> Iterator[Item | Fault | Passed]:
    """The items of one file, or of a folder of `datasets`, with what is none in between."""
    for file in saved_files(path) if path.is_dir() else [path]:
        reader = reader_of(file)
        try:
            if reader is None:
                yield Passed(f"file ending in {file.suffix}" if file.suffix else "file without an ending")
            elif _describes(file):
                yield Passed("file that describes the records beside it")
            else:
                yield from reader(file)
        except (*UNREADABLE, ValueError) as error:
            yield Fault(str(file), 0, f"the file cannot be read: {error}")


def _inside(folder: Path) -> list[Path]:
    if (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file():
        return [folder]
    if (folder / "funnel.json").is_file():
        *_, last = json.loads((folder / "funnel.json").read_text("utf-8"))["stages"]
        raise ValueError(
            f"{folder} is a run of `internlm2 process`. It holds each document once a stage, and dropped ones too. "
            f"Name one of its stages, such as {folder / last['stage']}."
        )
    files: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith((".", "_")) or entry.name in REPORTS:
            continue
        if entry.is_dir():
            files += _inside(entry)
        else:
            files.append(entry)
    return files


def _describes(file: Path) -> bool:
    """Whether it is the card of a set of records."""
    if file.name.lower() not in _DESCRIPTIONS:
        return False
    readers = {reader_of(other) for other in file.parent.iterdir() if other.is_file()}
    return bool(readers - {None, read_text, read_html})


def _known(path: Path) -> Path:
    if reader_of(path) is None:
        raise ValueError(f"The format of {path} is not known. Known endings are {', '.join(READERS)}.")
    return path
