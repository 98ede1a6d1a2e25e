"""Notice that a run no longer moves, say which rank waits in which operation for whom, and end it.

Every rank notes its last finished step in a file of its own. A thread looks at the clock. When a rank has not moved
for too long, it reads off its main thread's stack where it waits, looks at the notes of the others, and names those
that are behind or not inside a collective. It writes what torch's flight recorder remembers, and the nodes of those
that are waited for. Ending the process lets torchrun or Slurm start again.
"""

import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L

from internlm2_parallel.health.flight import rank_of, write_flight
from internlm2_parallel.health.nodes import host, note_failure

log = logging.getLogger(__name__)
HUNG = 76
"""Exit code of a rank that no longer moved."""
SILENT = "no word since the start"
"""What a rank has left that died or whose node is gone."""


class HangWatch(L.Callback):
    """Ends a run that does not move for too long. Batches of validation are movement, as steps are.

    Args:
        folder: For the ranks' notes, on a file system that all ranks see.
        timeout_s: Seconds without a finished step or batch.
        pause_timeout_s: Seconds for what has no steps: a checkpoint that is written, what callbacks do after a
            validation, and all that follows the last step, such as an export or an upload.
        ends_run: Leave with exit code 76. False only reports.

    Attributes:
        limit_s: Seconds that what happens now may take.

    Raises:
        ValueError: If ``pause_timeout_s`` is below ``timeout_s``.
    """

    def __init__(
        self,
        folder: str | Path,
        timeout_s: float = 1200.0,
        pause_timeout_s: float = 7200.0,
        ends_run: bool = True,
    ) -> None:
        if pause_timeout_s < timeout_s:
            raise ValueError(f"pause_timeout_s={pause_timeout_s} must be at least timeout_s={timeout_s}.")
        self.folder, self.timeout_s, self.pause_timeout_s = Path(folder), timeout_s, pause_timeout_s
        self.ends_run = ends_run
        self._rank, self._step, self._moved, self.limit_s = 0, 0, time.monotonic(), timeout_s
        self._stop = threading.Event()
        self._main = threading.main_thread().ident
        self._thread: threading.Thread | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to watch."""
        self._rank, self._main = trainer.global_rank, threading.get_ident()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._move(trainer.global_step)
        set_aside(self.folder, self._rank, trainer.world_size)
        self._note(SILENT)
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, name="hang-watch", daemon=True)
        self._thread.start()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Note a finished step. After the last one others write what training gives."""
        is_last = trainer.should_stop or trainer.global_step == trainer.max_steps or trainer.is_last_batch
        self._move(trainer.global_step, pauses=is_last)

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Note that data came."""
        self._move(trainer.global_step)

    def on_validation_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Note that data of a validation came."""
        self._move(trainer.global_step)

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Note a finished batch of a validation, after the last of which figures are made and models written."""
        self._move(trainer.global_step, pauses=True)

    def on_save_checkpoint(self, trainer: L.Trainer, *args: Any) -> None:
        """Note that a checkpoint is being written."""
        self._move(trainer.global_step, pauses=True)

    def on_train_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Note the end of training."""
        self._move(trainer.global_step, pauses=True)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Stop watching."""
        self._stop.set()

    def _move(self, step: int, pauses: bool = False) -> None:
        self.limit_s = self.pause_timeout_s if pauses else self.timeout_s
        self._step, self._moved = step, time.monotonic()

    def _note(self, operation: str) -> None:
        draft = self.folder / f".rank-{self._rank}"
        draft.write_text(json.dumps({"rank": self._rank, "host": host(), "step": self._step, "operation": operation}))
        draft.replace(self.folder / f"rank-{self._rank}.json")

    def _wait_for_notes(self) -> None:
        """Until the others have noted where they are: two seconds, and longer for those that have not said a word."""
        until = time.monotonic() + min(15.0, self.timeout_s)
        self._stop.wait(min(2.0, self.timeout_s / 2))
        while time.monotonic() < until and any(note["operation"] == SILENT for note in notes_in(self.folder)):
            self._stop.wait(0.5)

    def _watch(self) -> None:
        while not self._stop.wait(min(1.0, self.timeout_s / 4)):
            stood = time.monotonic() - self._moved
            if stood < self.limit_s:
                continue
            frame = sys._current_frames().get(self._main or 0)
            operation = operation_of(frame)
            self._note(operation)
            try:
                write_flight(self.folder / f"rank-{self._rank}.flight.json")
            except Exception:  # what is still to come matters more
                log.exception("The record of rank %d's collectives could not be written.", self._rank)
            self._wait_for_notes()
            suspects = waited_for(self._rank, self._step, self.folder)
            message = report(self._rank, self._step, operation, stood, suspects)
            log.error(message)
            for node in {suspect["host"] for suspect in suspects}:
                note_failure(self.folder, node, "hang")
            stack = "".join(traceback.format_stack(frame))
            (self.folder / f"rank-{self._rank}.stack.txt").write_text(f"{message}\n\n{stack}")
            if self.ends_run:
                os._exit(HUNG)
            self._moved = time.monotonic()


def operation_of(frame: FrameType | None) -> str:
    """The innermost collective of a stack and who called it, or just its innermost line."""
    stack = traceback.extract_stack(frame)
    for index in range(len(stack) - 1, 0, -1):
        if "torch/distributed/" in stack[index].filename and "torch/distributed/" not in stack[index - 1].filename:
            caller, inside = stack[index - 1], stack[index:]
            name = next((entry.name for entry in inside if entry.name != "wrapper"), inside[0].name)
            return f"{name} called in {Path(caller.filename).name}:{caller.lineno} ({caller.name})"
    last = stack[-1]
    return f"{last.name} in {Path(last.filename).name}:{last.lineno}, no collective"


def notes_in(folder: Path) -> list[dict[str, Any]]:
    """Notes of all ranks."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("rank-*.json")) if file.name.count(".") == 1]


def set_aside(folder: Path, rank: int, ranks: int) -> None:
    """Move what an earlier attempt has left into ``before``: a rank its own, the first one that of ranks that are gone.

    Args:
        folder: Of the notes.
        rank: This one.
        ranks: How many there are now.
    """
    (folder / "before").mkdir(exist_ok=True)
    for file in folder.glob("rank-*"):
        number = rank_of(file)
        if number == rank or (rank == 0 and number >= ranks):
            file.replace(folder / "before" / file.name)


def waited_for(rank: int, step: int, folder: Path) -> list[dict[str, Any]]:
    """Notes of the ranks that a rank seems to wait for.

    Args:
        rank: The rank that no longer moves.
        step: Its last finished step.
        folder: Notes of all ranks.
    """
    others = [note for note in notes_in(folder) if note["rank"] != rank]
    return [n for n in others if n["step"] < step or n["operation"].endswith(("no collective", SILENT))]


def report(rank: int, step: int, operation: str, stood_s: float, suspects: Sequence[Mapping[str, Any]]) -> str:
    """One sentence: who waits where, and probably for whom.

    Args:
        rank: The rank that no longer moves.
        step: Its last finished step.
        operation: Where it waits.
        stood_s: For how many seconds.
        suspects: Notes of those that it seems to wait for.
    """
    named = ", ".join(f"rank {n['rank']} on {n['host']} at step {n['step']} in {n['operation']}" for n in suspects)
    waits_for = f" It seems to wait for {named}." if named else ""
    return f"Rank {rank} has not moved for {stood_s:.0f} s: after step {step} it waits in {operation}.{waits_for}"
