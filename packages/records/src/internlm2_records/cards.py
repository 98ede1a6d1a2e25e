"""Cards of models and data sets: a README.md with a YAML head, as the hub of Hugging Face reads it.

A card that a job has written carries `MARK`. One without it is somebody's own and is left as it is.
"""

import os
from collections.abc import Sequence
from pathlib import Path

FILE = "README.md"
MARK = "<!-- Written by internlm2. A card without this line is yours, and no job replaces it. -->"


def write_card(folder: Path, head: str, body: str) -> Path | None:
    """Write ``FOLDER/README.md``, beside its place first.

    Args:
        folder: Of the model or the data set.
        head: The YAML head, without its dashes.
        body: The Markdown text.

    Returns:
        The card, or None if somebody's own is there.
    """
    file = folder / FILE
    if file.exists() and not is_ours(file):
        return None
    draft = folder / f".{FILE}.part"
    draft.write_text(f"---\n{head.strip()}\n---\n\n{MARK}\n\n{body.strip()}\n", encoding="utf-8")
    with draft.open("rb") as written:
        os.fsync(written.fileno())
    return draft.replace(file)


def is_ours(file: Path) -> bool:
    """Whether a job has written a card."""
    try:
        return MARK in file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def section_of(folder: Path, heading: str) -> str:
    """The text below a heading of a card that a job has written. Empty where there is none.

    Args:
        folder: Of the model or the data set.
        heading: The whole line, as ``## Training``.
    """
    file = folder / FILE
    if not is_ours(file):
        return ""
    _, _, after = file.read_text(encoding="utf-8").partition(f"\n{heading}\n")
    return after.partition("\n## ")[0].strip()


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table. Columns of numbers are set to the right.

    Args:
        head: Names of the columns.
        rows: Values of each row.
    """
    right = [all(isinstance(row[n], int | float) for row in rows) and bool(rows) for n in range(len(head))]
    lines = [_line(head), _line(["---:" if is_right else "---" for is_right in right])]
    return "\n".join([*lines, *(_line([_text(value) for value in row]) for row in rows)])


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(value.replace("|", "\\|").replace("\n", " ") for value in values) + " |"


def size_category(count: int) -> str:
    """How many records a data set has, in the words of the hub.

    Args:
        count: Number of records.
    """
    bounds = {"n<1K": 10**3, "1K<n<10K": 10**4, "10K<n<100K": 10**5, "100K<n<1M": 10**6, "1M<n<10M": 10**7}
    bounds |= {"10M<n<100M": 10**8, "100M<n<1B": 10**9, "1B<n<10B": 10**10, "10B<n<100B": 10**11, "100B<n<1T": 10**12}
    return next((name for name, bound in bounds.items() if count < bound), "n>1T")
