"""What a report is made from: files of runs, and whether each could be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from internlm2_records.report import Found, Reader

Status = Literal["present", "missing", "unreadable"]


@dataclass(frozen=True)
class Source:
    """One file or folder of every run.

    Attributes:
        title: Its name in the report. Targets name it by this.
        kind: What it is. A part of the report has a reader for it.
        path: Where it should be, below the folder of a run.
        simulated: Whether its figures rest on the simulated annotator. The report says so beside them.
        note: One sentence that is shown with it.
        columns: Label of each column of a CSV file, for ``curves``.
    """

    title: str
    kind: str
    path: str
    simulated: bool = False
    note: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """A source as it was found.

    Attributes:
        source: What was looked for.
        status: Whether it is there.
        figures: What it holds, in JSON types. It is empty unless present.
        reason: Why it is not there.
        path: Where it was looked for.
    """

    source: Source
    status: Status
    figures: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    path: str = ""

    @property
    def found(self) -> Found:
        """What a section gets of it."""
        source = self.source
        return Found(source.kind, source.title, self.figures, source.note, source.simulated)

    def to_json(self, run: str) -> dict[str, Any]:
        """Its entry in ``report.json``.

        Args:
            run: Name of the run.
        """
        about = {name: getattr(self.source, name) for name in ("title", "kind", "simulated", "note")}
        found = {"run": run, "path": self.path, "status": self.status, "reason": self.reason}
        return about | found | {"figures": dict(self.figures) if self.status == "present" else None}


def load(source: Source, run: Path, readers: Mapping[str, Reader]) -> Loaded:
    """Read a source. Where that fails, the reason is kept. Nothing is made up.

    Args:
        source: What is looked for.
        run: Folder of the run.
        readers: By kind.
    """
    path = run / source.path
    if source.kind not in readers:
        return Loaded(source, "unreadable", reason=f"no installed package reads {source.kind} ({path})", path=str(path))
    if not path.exists():
        return Loaded(source, "missing", reason=f"{path} has not been written", path=str(path))
    try:
        return Loaded(source, "present", readers[source.kind](path, source.columns), path=str(path))
    except KeyError as error:
        reason = f"{path} could not be read: it lacks {error}"
    except (ValueError, OSError) as error:
        reason = f"{path} could not be read: {error}".rstrip(".")
    return Loaded(source, "unreadable", reason=reason, path=str(path))
