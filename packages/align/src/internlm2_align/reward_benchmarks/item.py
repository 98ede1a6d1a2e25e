"""Items of a reward benchmark: one prompt, replies to it, and which of them are right."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from internlm2_records import Message, Placed, Record, read_records, turns_of

Verdict = Literal["right", "tie", "wrong"]
SUFFIXES = tuple(
    f"{suffix}{packed}" for suffix in (".jsonl", ".json", ".parquet", ".arrow") for packed in ("", ".gz", ".zst")
)


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt with its replies.

    Attributes:
        id: Name of the item in its file.
        subset: Group of items that figures are given for.
        prompt: The conversation before the replies.
        replies: Replies of the assistant.
        right: Which of them are right, one for each.
        language: Of the condition prompt.
        meta: What the rule of the benchmark needs beside that.
    """

    id: str
    subset: str
    prompt: tuple[Message, ...]
    replies: tuple[str, ...]
    right: tuple[bool, ...]
    language: str = "en"
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item with the scores of its replies.

    Attributes:
        item: The item.
        scores: One for each reply.
    """

    item: Item
    scores: tuple[float, ...]

    @property
    def of_right(self) -> list[float]:
        """Scores of the right replies."""
        return [score for score, right in zip(self.scores, self.item.right, strict=True) if right]

    @property
    def of_wrong(self) -> list[float]:
        """Scores of the wrong replies."""
        return [score for score, right in zip(self.scores, self.item.right, strict=True) if not right]

    @property
    def verdict(self) -> Verdict:
        """``right`` where the best of the right replies is above all wrong ones, ``tie`` where they are level."""
        return compared(max(self.of_right), max(self.of_wrong))


def compared(right: float, wrong: float) -> Verdict:
    """What two scores say.

    Args:
        right: Score of the better reply.
        wrong: Score of the other.
    """
    if right == wrong:
        return "tie"
    return "right" if right > wrong else "wrong"


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
        items: Those that are scored.
        left_out: Records that are not, by reason.
    """

    items: list[Item]
    left_out: Counter[str] = field(default_factory=Counter)


class Benchmark(Protocol):
    """A published benchmark: its files and its rule.

    Attributes:
        name: Its published name.
        version: Raised whenever the same model would get other figures.
        path: Where its files are, below the folder of all benchmarks.
    """

    name: str
    version: int
    path: Path

    def read(self, data: str | Path = ".") -> Reading:
        """All items.

        Args:
            data: Folder of all benchmarks.
        """

    def domain(self, item: Item) -> str:
        """The domain whose condition prompt an item is scored under."""

    def figures(self, scored: Sequence[ScoredItem]) -> dict[str, Any]:
        """``score`` between 0 and 1 as it is published, ``items``, ``ties``, and what it is made of."""


class LeftOutError(ValueError):
    """A record that is not scored on purpose.

    Args:
        reason: A short name for counts.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def record_files(path: Path, only: str = "") -> list[Path]:
    """The record files of a benchmark, in order.

    Args:
        path: A file, or a folder with files at any depth.
        only: Where names of files begin with this, the others are left alone: Hugging Face's folders hold one file for
            each split.

    Raises:
        FileNotFoundError: If there are none.
    """
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.name.endswith(SUFFIXES) and not _is_hidden(file, path))
    chosen = [file for file in found if only and file.name.startswith(only)]
    if not found:
        raise FileNotFoundError(f"{path} must be a file of records or a folder with some ({', '.join(SUFFIXES)}).")
    return chosen or found


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def read_items(files: Sequence[Path], parse: Callable[[Placed, Record], Iterator[Item]]) -> Reading:
    """The items of some files.

    Args:
        files: Record files.
        parse: Makes the items of a record, or raises `LeftOutError`.

    Raises:
        ValueError: If a record cannot be read. The message names its place.
    """
    reading = Reading([])
    for file in files:
        for placed in read_records(file):
            try:
                reading.items.extend(placed.parse(lambda record, placed=placed: list(parse(placed, record))))  # type: ignore[misc]
            except ValueError as error:
                if not isinstance(error.__cause__, LeftOutError):
                    raise
                reading.left_out[error.__cause__.reason] += 1
    if not reading.items:
        raise ValueError(f"{files[0].parent} holds no items that can be scored.")
    return reading


def asked(prompt: object) -> tuple[Message, ...]:
    """A prompt as turns.

    Args:
        prompt: A text that the user says, or messages.
    """
    return tuple(turns_of(prompt))


def texts(value: object) -> list[str]:
    """Replies as a list.

    Args:
        value: One text or several.

    Raises:
        ValueError: If it holds something else.
    """
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not found or not all(isinstance(text, str) for text in found):
        raise ValueError(f"replies={value!r:.80} must be a text or a list of texts.")
    return list(found)


def tally(scored: Sequence[ScoredItem]) -> dict[str, Any]:
    """Accuracy of some items, of which a tie is not right.

    Args:
        scored: Items with their scores.

    Returns:
        ``accuracy``, ``items`` and ``ties``.
    """
    verdicts = Counter(one.verdict for one in scored)
    return {"accuracy": verdicts["right"] / len(scored), "items": len(scored), "ties": verdicts["tie"]}


def by_subset(scored: Sequence[ScoredItem]) -> dict[str, list[ScoredItem]]:
    """Scored items by subset, in the order of names."""
    found: dict[str, list[ScoredItem]] = {}
    for one in scored:
        found.setdefault(one.item.subset, []).append(one)
    return dict(sorted(found.items()))


def mean(values: Sequence[float]) -> float:
    """The plain mean."""
    return sum(values) / len(values)
