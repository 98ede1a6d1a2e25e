"""The file of curves over two attempts of a run."""

import csv
from pathlib import Path

from internlm2_core.loggers import ContinuedCSVLogger


def attempt(folder: Path, *figures: tuple[int, dict[str, float]]) -> list[dict[str, str]]:
    """Log as Lightning does, saving after each step; what the file holds afterwards."""
    logger = ContinuedCSVLogger(folder, name="logs", version="csv")
    logger.save()
    for step, values in figures:
        logger.log_metrics(values, step)
        logger.save()
    logger.finalize("success")
    with (folder / "logs" / "csv" / "metrics.csv").open(newline="") as stream:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(stream)]


def test_rows_of_an_earlier_attempt_stay_and_none_is_there_twice(tmp_path: Path) -> None:
    first = attempt(tmp_path, (0, {"loss": 0.1 + 0.2}), (1, {"loss": 2.0, "speed": 5.0}), (2, {"loss": 1.0}))
    assert [row["step"] for row in first] == ["0", "1", "2"]
    # The run went on from the checkpoint of step 2, and logs figures of other names first.
    second = attempt(tmp_path, (2, {"valid": 4.0}), (3, {"loss": 0.5}))
    assert second == [*first[:2], {"step": "2", "valid": "4.0"}, {"step": "3", "loss": "0.5"}]


def test_an_attempt_that_logs_nothing_leaves_the_file(tmp_path: Path) -> None:
    first = attempt(tmp_path, (0, {"loss": 3.0}))
    assert attempt(tmp_path) == first
