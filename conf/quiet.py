"""What libraries say and nobody can do anything about is not shown."""

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

FAILED_JOB = "Error executing job with overrides: "
"""What Hydra writes before the error of a sweep's job, which has said its sentence."""


def without_advertisements() -> None:
    """Leave out hints at other products and caches of fonts."""
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in str(record.msg))
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


class WithoutLine(io.TextIOBase):
    """A stream that leaves one kind of line out.

    Args:
        stream: Where the others go.
        beginning: How the line begins. It must be written at once.
    """

    def __init__(self, stream: Any, beginning: str) -> None:
        self.stream, self.beginning = stream, beginning

    def write(self, text: str) -> int:
        """Write what does not begin so."""
        return len(text) if text.startswith(self.beginning) else int(self.stream.write(text))

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return bool(self.stream.isatty())

    def fileno(self) -> int:
        """Its descriptor."""
        return int(self.stream.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Its encoding."""
        return str(self.stream.encoding)


@contextmanager
def without_overrides_of_failed_jobs() -> Iterator[None]:
    """Leave out Hydra's line about a failed job of a sweep."""
    with redirect_stderr(WithoutLine(sys.stderr, FAILED_JOB)):  # type: ignore[type-var]
        yield
