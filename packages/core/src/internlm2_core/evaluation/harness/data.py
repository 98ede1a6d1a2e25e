"""Questions of exams from local files, as the data sets that lm-eval's tasks expect.

    DATA/gsm8k/test.jsonl.gz      NAME/SPLIT
    DATA/mmlu/anatomy/test.jsonl  NAME/SUBSET/SPLIT, and NAME/SUBSET for the questions
    DATA/HumanEval.jsonl.gz       NAME for the questions
    DATA/mmlu/mmlu_test-1.jsonl   parts are numbered behind, the name may be said again

Case and the signs ``-_.`` between words do not matter. Formats are those of `internlm2_records`, JSON objects with one
list, and text for WikiText.
"""

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
from internlm2_records import read_objects

from internlm2_core.evaluation.harness.sources import Row, Source, source_of

FORMATS = re.compile(r"\.(jsonl|ndjson|json|parquet|arrow|txt)(\.gz|\.zst)?$")
SAME = {"val": "validation", "valid": "validation"}
WHOLE = frozenset({"", "main", "default", "full", "all"})
"""Names of subsets that are the whole."""


class LocalData:
    """Data sets in a folder.

    Args:
        folder: The folder.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"data={self.folder} is not a folder.")
        files = sorted(file for file in self.folder.rglob("*") if file.is_file() and FORMATS.search(file.name))
        self.words = {file: words_of(file.relative_to(self.folder)) for file in files}
        # Subjects of an exam may lie in one file.
        self.read = lru_cache(maxsize=8)(read)

    def of(self, task: str, path: str, subset: str | None) -> "Splits":
        """The splits of a data set, read when they are asked for.

        Args:
            task: Name of the task, for errors.
            path: Name of the data set on the hub.
            subset: Name of its configuration there.
        """
        source, subset = source_of(path, subset)
        return Splits(self, task, source, subset or "")

    def files(self, source: Source, subset: str, split: str) -> list[Path]:
        """The files of a split, those that say most of it. Empty where there are none.

        Args:
            source: The data set.
            subset: Name of its configuration.
            split: Name of the split.
        """
        part, whole = words_of(Path(subset)), words_of(Path(split))
        wanted = [[*part, *whole], [*whole, *part]]
        if split == source.whole:
            wanted.append(part)
        if source.holds_subsets or subset in WHOLE:
            wanted += [whole, []] if split == source.whole or source.holds_splits else [whole]
        for rest in wanted:
            for name in source.names:
                found = [file for file, words in self.words.items() if rest_of(words, words_of(Path(name))) == rest]
                if found:
                    return found
        return []


class Splits(Mapping[str, Any]):
    """The splits of one data set.

    Args:
        data: Where files are looked for.
        task: Name of the task.
        source: The data set.
        subset: Name of its configuration.
    """

    def __init__(self, data: LocalData, task: str, source: Source, subset: str) -> None:
        self.data, self.task, self.source, self.subset = data, task, source, subset
        self._read: dict[str, datasets.Dataset] = {}

    def __getitem__(self, split: str) -> datasets.Dataset:
        """The rows of a split.

        Raises:
            FileNotFoundError: If there is no file for it. The error names the one that was looked for.
        """
        if split not in self._read:
            files = self.data.files(self.source, self.subset, split)
            rows = self.source.rows([row for file in files for row in self.data.read(file)], self.subset, split)
            if not rows:
                raise FileNotFoundError(self._lacking(files, split))
            self._read[split] = datasets.Dataset.from_list(rows)
        return self._read[split]

    def _lacking(self, files: list[Path], split: str) -> str:
        name, part = self.source.names[0], f"/{self.subset}" if self.subset not in WHOLE else ""
        also = f" nor {name}.jsonl" if split == self.source.whole and not part else ""
        why = (
            f"{files[0]} has no such rows"
            if files
            else f"{self.data.folder}/{name}{part}/{split}.jsonl does not exist{also}"
        )
        return f"The task {self.task} needs the split {split} of {self.source.names[-1]}: {why}."

    def __iter__(self) -> Iterator[str]:
        """Names of the splits that were read."""
        return iter(self._read)

    def __len__(self) -> int:
        """How many splits were read."""
        return len(self._read)


def words_of(path: Path) -> list[str]:
    """Words of a path without its format, in lower case."""
    words = re.split(r"[-_./ ]+", FORMATS.sub("", str(path)).lower())
    return [SAME.get(word, word) for word in words if word]


def rest_of(words: list[str], name: list[str]) -> list[str] | None:
    """What a file says behind the name of its data set, without numbers of parts. None for other data sets.

    Args:
        words: Words of the file.
        name: Words of the data set's name.
    """
    if words[: len(name)] != name:
        return None
    while words[: len(name)] == name:
        words = words[len(name) :]
    while words and (words[-1].isdigit() or words[-1] == "of"):
        words = words[:-1]
    return [word for word in words if word not in WHOLE] if len(words) > 1 else words


def read(file: Path) -> list[Row]:
    """The rows of a file."""
    if re.search(r"\.txt(\.gz)?$", file.name):
        return [{"text": line} for line in text_of(file).splitlines(keepends=True)]
    if re.search(r"\.json(\.gz)?$", file.name):
        value = json.loads(text_of(file))
        if isinstance(value, dict):
            lists = [rows for rows in value.values() if isinstance(rows, list)]
            if len(lists) != 1:
                raise ValueError(f"{file} must hold a list of rows, or an object with one such list.")
            return list(lists[0])
    return read_objects(file)


def text_of(file: Path) -> str:
    """The text of a file, unpacked where it is packed."""
    return (gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8")).read()
