"""The runs of a report, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internlm2_core.report.source import Loaded
from internlm2_core.report.values import clock


@dataclass(frozen=True)
class Run:
    """What was found of a run.

    Attributes:
        name: Its name on the page.
        folder: Where it is.
        loaded: All sources, in the order in which they are shown.
        targets: Entries as `Target.check` makes them.
    """

    name: str
    folder: str
    loaded: Sequence[Loaded]
    targets: Sequence[Mapping[str, Any]] = ()

    @property
    def simulated(self) -> bool:
        """Whether any figure rests on the simulated annotator."""
        return any(each.source.simulated for each in self.loaded)

    def present(self, *kinds: str) -> list[Loaded]:
        """Sources of some kinds that could be read."""
        return [each for each in self.loaded if each.source.kind in kinds and each.status == "present"]

    def absent(self, *kinds: str) -> list[Loaded]:
        """Sources that could not be read, of some kinds or of all."""
        return [e for e in self.loaded if e.status != "present" and (not kinds or e.source.kind in kinds)]

    def glance(self) -> dict[str, str]:
        """A few figures by their names."""
        reached = sum(target["outcome"] == "reached" for target in self.targets)
        stages = [stage for each in self.present("record") for stage in each.figures["stages"]]
        peaks = [stage["peak_memory_mb"] for stage in stages if stage["peak_memory_mb"] is not None]
        evaluated = self.present("evaluation")
        found: dict[str, str] = {}
        if self.targets:
            found["targets reached"] = f"{reached} of {len(self.targets)}"
        if stages:
            found["all stages together"] = clock(sum(stage["seconds"] for stage in stages))
        if peaks:
            found["peak memory"] = f"{max(peaks):,.0f} MB"
        if stages:
            found["stages"] = f"{len(stages)}"
        # Judged answers may come from a file, without a model.
        if models := [each.figures["model"] for each in evaluated if each.figures["model"]]:
            found["parameters"] = size(models[-1]["parameters"])
        return found


def size(parameters: int) -> str:
    """A number of parameters in short."""
    return f"{parameters / 1e6:,.2f} M" if parameters < 1e9 else f"{parameters / 1e9:,.1f} B"


def names_of(folders: Sequence[str]) -> list[str]:
    """A short name for each run: the last parts of its path, as many as tell the runs apart.

    Args:
        folders: Folders of the runs.

    Raises:
        ValueError: If there are none, or one comes twice.
    """
    paths = [Path(folder).absolute() for folder in folders]
    if not paths:
        raise ValueError("runs=[] of the report must hold one folder or more.")
    if twice := {path for path in paths if paths.count(path) > 1}:
        raise ValueError(f"runs={min(twice)} comes twice. Each must be another folder.")
    parts = 1
    while len({path.parts[-parts:] for path in paths}) < len(paths):
        parts += 1
    return ["/".join(path.parts[-parts:]) for path in paths]
