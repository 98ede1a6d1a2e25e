"""Ctrl-C in training. The first one asks the run to end after its step, the second one ends it at once."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import lightning as L

from internlm2_core.lightning_private import log_finished_step
from internlm2_core.shares import WritesInBackground

ASKED = b"\nThe run ends after this optimizer step and saves its state. Ctrl-C again ends it at once.\n"


class Interrupt:
    """Whether somebody has pressed Ctrl-C.

    Attributes:
        is_asked: Whether the run shall end after its step.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._before: Any = None

    def listen(self, says: bool) -> None:
        """Take Ctrl-C over. Only the main thread can. A run in another one ends as before.

        Args:
            says: Whether this process says what happens.
        """
        self.is_asked, self._says = False, says
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True
        if self._says:
            os.write(2, ASKED)  # print may be interrupted by itself

    def forget(self) -> None:
        """Give Ctrl-C back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


def leave(trainer: L.Trainer) -> None:
    """End a run whose state is saved, on all ranks together, once what was saved is on disk.

    Args:
        trainer: Between two steps.

    Raises:
        KeyboardInterrupt: If it is called.
    """
    log_finished_step(trainer)
    if isinstance(trainer.strategy, WritesInBackground):
        trainer.strategy.finish_writing()
    else:
        trainer.strategy.checkpoint_io.teardown()
    trainer.strategy.barrier("interrupted")
    raise KeyboardInterrupt
