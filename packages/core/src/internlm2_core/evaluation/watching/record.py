"""``RUN/evaluations.jsonl``: what was measured of which checkpoint, one line each, appended as it comes."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "evaluations.jsonl"


@dataclass(frozen=True)
class Evaluation:
    """One line.

    Attributes:
        step: Optimizer steps of the checkpoint.
        label: What it was evaluated by. Figures of one label can be compared.
        checkpoint: Name of the checkpoint.
        figures: Every number of a task in ``metrics.json``, by its dotted name: ``tasks.needle.overall.accuracy``.
        output: Folder of the whole results, below the run.
        seconds: Time that it took.
        time: When it ended, as ISO 8601 in UTC.
    """

    step: int
    label: str
    checkpoint: str
    figures: dict[str, float]
    output: str
    seconds: float
    time: str


def evaluations_of(run: str | Path) -> list[Evaluation]:
    """All lines of a run, in the order in which they came.

    Args:
        run: Folder of the run.

    Raises:
        ValueError: If a whole line is broken.
    """
    file = Path(run) / FILE
    if not file.is_file():
        return []
    *lines, _ = file.read_bytes().split(b"\n")  # what follows the last line's end is half a line
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(Evaluation(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file}, line {number} is not an evaluation: {error}.") from error
    return found


def append(run: Path, evaluation: Evaluation) -> None:
    """Add a line, unless its label has one for that step. It is on disk when this returns.

    Args:
        run: Folder of the run.
        evaluation: The line.
    """
    with claimed(run / "evaluations" / ".lines.lock", waits=True):
        known = evaluations_of(run)
        if any((one.label, one.step) == (evaluation.label, evaluation.step) for one in known):
            return
        file = run / FILE
        if file.is_file():
            text = file.read_bytes()
            os.truncate(file, text.rfind(b"\n") + 1)  # a killed process left half a line
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(evaluation), ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())


@contextmanager
def claimed(file: Path, waits: bool = False) -> Iterator[bool]:
    """A claim that ends with the process that has it, however that ends.

    Args:
        file: Names what is claimed. It stays, empty.
        waits: Whether to wait until nobody else has it.

    Yields:
        Whether this process has it now.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def numbers(value: Any, prefix: str = "") -> dict[str, float]:
    """Every finite number of nested mappings, by its dotted name.

    Args:
        value: The mappings.
        prefix: What they are below.
    """
    if isinstance(value, Mapping):
        parts = (numbers(part, f"{prefix}.{key}" if prefix else str(key)) for key, part in value.items())
        return {name: number for part in parts for name, number in part.items()}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {prefix: value} if is_number and abs(value) < float("inf") else {}


def now() -> str:
    """The present time, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
