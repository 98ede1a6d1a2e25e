"""What a report is made from: files of a run, and whether each could be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from internlm2_core.report.readers import READERS

Status = Literal["present", "missing", "unreadable"]


@dataclass(frozen=True)
class Source:
    """One file or folder of a run.

    Attributes:
        title: Its name in the report. Targets name it by this.
        kind: One of `READERS`. It says how the source is read and where it is shown.
        path: Where it should be.
        simulated: Whether its figures rest on the simulated annotator. The report says so beside them.
        note: One sentence that is shown with it.
        columns: Label of each column of a CSV file, for ``curves``.

    Raises:
        ValueError: If the kind is not known.
    """

    title: str
    kind: str
    path: str
    simulated: bool = False
    note: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in READERS:
            raise ValueError(f"kind={self.kind!r} of the source {self.title!r} must be one of {', '.join(READERS)}.")


@dataclass(frozen=True)
class Loaded:
    """A source as it was found.

    Attributes:
        source: What was looked for.
        status: Whether it is there.
        figures: What it holds, in JSON types. It is empty unless present.
        reason: Why it is not there.
    """

    source: Source
    status: Status
    figures: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Its entry in ``report.json``."""
        about = {name: getattr(self.source, name) for name in ("title", "kind", "path", "simulated", "note")}
        found = {"status": self.status, "reason": self.reason}
        return about | found | {"figures": dict(self.figures) if self.status == "present" else None}


def load(source: Source) -> Loaded:
    """Read a source. Where that fails, the reason is kept. Nothing is made up."""
    path = Path(source.path)
    if not path.exists():
        return Loaded(source, "missing", reason=f"{path} has not been written")
    try:
        return Loaded(source, "present", READERS[source.kind](path, source.columns))
    except KeyError as error:
        return Loaded(source, "unreadable", reason=f"{path} could not be read: it lacks {error}.")
    except (ValueError, OSError) as error:
        return Loaded(source, "unreadable", reason=f"{path} could not be read: {error}")
