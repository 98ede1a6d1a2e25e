"""The job ``internlm2 watch``: evaluate the checkpoints of a run while it trains."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from internlm2_core.evaluation.watching.best import Mode, best_of, check_mode
from internlm2_core.evaluation.watching.board import show
from internlm2_core.evaluation.watching.found import checkpoints_of, held, is_finished, remove
from internlm2_core.evaluation.watching.record import Evaluation, append, claimed, evaluations_of, now, numbers
from internlm2_core.jobs.export import export

Which = Literal["each", "newest"]


def watch(
    run: str,
    evaluate: Callable[..., Mapping[str, Any]],
    label: str,
    which: Which = "each",
    keep: str | None = None,
    mode: Mode = "max",
    every_s: float = 30.0,
    patience_s: float | None = None,
) -> dict[str, Any]:
    """Evaluate every checkpoint once, as it is written, until the run has finished.

    Several processes may watch one run: each checkpoint is evaluated by one of them. A process that was killed is
    started again, and what it was doing is done anew.

    Args:
        run: Folder of the run. It need not be there yet.
        evaluate: Is called with ``checkpoint``, a model folder, and ``output``. Gives what ``metrics.json`` holds.
        label: Name of this kind of evaluation.
        which: ``each`` takes all checkpoints, oldest first. ``newest`` leaves out what is older than the newest.
        keep: Figure by which the best model so far is kept, or ``all`` to keep every one. None keeps no models, since
            ``best`` finds them in the run's checkpoints.
        mode: Whether the figure is best at its ``max`` or ``min``.
        every_s: Seconds between two looks at the run.
        patience_s: Seconds without a new checkpoint after which it is given up. None waits for ever.

    Returns:
        ``evaluated``, steps that this call has evaluated, and ``finished``, whether the run has.

    Raises:
        ValueError: If an argument is unknown, or ``keep`` names no figure.
    """
    if which not in ("each", "newest"):
        raise ValueError(f"which={which} must be one of each, newest.")
    check_mode(mode)
    if not label or "/" in label or label.startswith("."):
        raise ValueError(f"label={label} must be the name of a folder.")
    watcher = _Watcher(Path(run), evaluate, label, keep, mode)
    show(watcher.run, evaluations_of(watcher.run))
    evaluated: list[int] = []
    idle_since = time.monotonic()
    while True:
        finished = is_finished(watcher.run)  # before the look: what comes after it is seen by the next
        if (step := watcher.evaluate_one(newest_only=which == "newest")) is not None:
            evaluated.append(step)
            idle_since = time.monotonic()
            continue
        idle_s = time.monotonic() - idle_since
        if finished or (patience_s is not None and idle_s >= patience_s):
            return {"evaluated": evaluated, "finished": finished}
        time.sleep(every_s)


@dataclass(frozen=True)
class _Watcher:
    run: Path
    evaluate: Callable[..., Mapping[str, Any]]
    label: str
    keep: str | None
    mode: Mode

    @property
    def folder(self) -> Path:
        """Of the results."""
        return self.run / "evaluations" / self.label

    def evaluate_one(self, newest_only: bool) -> int | None:
        """Evaluate one checkpoint that nobody has. Gives its step, or None where there is none."""
        done = {one.step for one in evaluations_of(self.run) if one.label == self.label}
        found = checkpoints_of(self.run)
        steps = [step for step in found if step not in done]
        if newest_only:
            steps = [step for step in steps if step > max(done, default=-1)][-1:]
        for step in steps:
            with claimed(self.folder / f".step-{step}.lock") as is_mine:
                # Another process may have finished it since.
                known = {(one.label, one.step) for one in evaluations_of(self.run)}
                if is_mine and (self.label, step) not in known and self._evaluate(step, found[step]):
                    return step
        return None

    def _evaluate(self, step: int, path: Path) -> bool:
        place = self.folder / f"step-{step}"
        with held(path, self.folder / f".step-{step}.held.ckpt") as own:
            if own is None:
                print(f"{path} was removed before it could be evaluated.", flush=True)
                return False
            remove(place / "model")
            export(str(own), str(place / "model"))
        start = time.perf_counter()
        metrics = self.evaluate(checkpoint=str(place / "model"), output=str(place))
        figures = numbers(metrics["tasks"], "tasks")
        if self.keep not in (None, "all", *figures):
            shutil.rmtree(place)
            raise ValueError(f"keep={self.keep} must be all, or one of {', '.join(sorted(figures))}.")
        seconds = round(time.perf_counter() - start, 3)
        output = str(place.relative_to(self.run))
        append(self.run, Evaluation(step, self.label, path.name, figures, output, seconds, now()))
        show(self.run, evaluations_of(self.run))
        self._clear()
        return True

    def _clear(self) -> None:
        """Remove models that are not to be kept."""
        if self.keep == "all":
            return
        measured = [one for one in evaluations_of(self.run) if one.label == self.label]
        kept = best_of(measured, self.keep, self.mode).step if self.keep else None
        for one in measured:
            if one.step != kept:
                remove(self.run / one.output / "model")
