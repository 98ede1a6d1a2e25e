"""What is not shown."""

import io
import logging

import pytest
from internlm2_conf.quiet import FAILED_JOB, NO_ACCOUNTS, SaysOnce, WithoutLine


def test_slurm_without_accounting_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("of-submitit")
    log.addFilter(SaysOnce())
    for call in range(3):
        log.warning(f"Call #{call} - Bypassing sacct error [Errno 2] No such file, status may be inaccurate.")
        log.warning("job %d has ended", call)
    assert caplog.messages == [NO_ACCOUNTS, "job 0 has ended", "job 1 has ended", "job 2 has ended"]


def test_one_line_of_hydra_is_left_out() -> None:
    shown = io.StringIO()
    stream = WithoutLine(shown, FAILED_JOB)
    print(f"{FAILED_JOB}['seed=1']\n", end="", file=stream)
    print("the sentence", file=stream)
    assert shown.getvalue() == "the sentence\n" and not stream.isatty()
