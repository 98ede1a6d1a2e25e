"""How far a job is: a bar, or a plain line twice a minute where the output is not a terminal.

It is here because all packages that read records tell how far they are, and import no other package in common.
"""

import threading
from collections.abc import Sequence

from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeElapsedColumn


class LineProgress(Progress):
    """Rich's progress, which says nothing to a log file before it ends.

    Args:
        every_s: Seconds between two plain lines.
        has_bar: Whether a terminal shows a bar. It can show one at a time.
    """

    def __init__(self, every_s: float = 30.0, has_bar: bool = True) -> None:
        columns = (TextColumn("{task.description:>14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        super().__init__(*columns)
        self.every_s, self.has_bar = every_s, has_bar
        self._ended = threading.Event()

    def start(self) -> None:
        """Show the bar, or begin to write lines."""
        if self.console.is_terminal:
            if self.has_bar:
                super().start()
            return
        self._ended.clear()
        # One item may take longer than the time between two lines.
        self._thread = threading.Thread(target=self._write_lines, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Leave the last state."""
        if self.console.is_terminal:
            if self.has_bar:
                super().stop()
        elif not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            self._write(self.tasks)

    def _write_lines(self) -> None:
        while not self._ended.wait(self.every_s):
            self._write([task for task in self.tasks if not task.finished])

    def _write(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            total = "" if task.total is None else f" {task.completed:.0f}/{task.total:.0f}"
            line = f"{task.description}{total}  {task.elapsed or 0:.0f} s"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
