"""Plain lines of a job whose output goes to a file."""

import time

import pytest
from internlm2_records.progress import LineProgress


def test_a_log_file_gets_lines_even_while_one_item_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    found, until = "", time.monotonic() + 60
    with LineProgress(every_s=0.01) as progress:
        done, task = progress.add_task("ready", total=1, completed=1), progress.add_task("sums [x]", total=3)
        progress.update(done, completed=1)
        progress.advance(task)
        while found.count("sums [x] 1/3  0 s\n") < 2 and time.monotonic() < until:
            time.sleep(0.01)
            found += capsys.readouterr().out
    assert found.count("sums [x] 1/3  0 s\n") >= 2 and "ready" not in found
    assert capsys.readouterr().out.splitlines()[-2:] == ["ready 1/1  0 s", "sums [x] 1/3  0 s"]
