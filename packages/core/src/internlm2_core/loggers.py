"""Curves of a run that resumes."""

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from internlm2_core.lightning_private import KeepsItsFile


class ContinuedWriter(KeepsItsFile):
    """Keeps the rows of an earlier attempt up to the step at which this one begins to log.

    Args:
        log_dir: Folder of ``metrics.csv``.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self._resumes = Path(self.metrics_file_path).is_file()

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        """Record metrics. Before the first, drop the rows that are logged again.

        Args:
            metrics_dict: Figures by name.
            step: Optimizer step. None counts.
        """
        if self._resumes:
            self._resumes = False
            self._keep_rows_before(0 if step is None else step)
        super().log_metrics(metrics_dict, step)

    def _keep_rows_before(self, step: int) -> None:
        file = Path(self.metrics_file_path)
        with file.open(newline="") as stream:
            rows: list[dict[str, Any]] = [row for row in csv.DictReader(stream) if int(row["step"]) < step]
        file.unlink()
        self.metrics = [{name: value for name, value in row.items() if value} for row in rows]
        self.save()


class ContinuedCSVLogger(CSVLogger):
    """Lightning's CSV logger for runs that stop and start again: earlier rows stay, none is there twice."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """What writes the file."""
        if self._experiment is None:
            self._experiment = ContinuedWriter(self.log_dir)
        assert isinstance(self._experiment, ExperimentWriter)
        return self._experiment
