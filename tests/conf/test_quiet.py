"""What is not shown."""

import io

from internlm2_conf.quiet import FAILED_JOB, WithoutLine


def test_one_line_of_hydra_is_left_out() -> None:
    shown = io.StringIO()
    stream = WithoutLine(shown, FAILED_JOB)
    print(f"{FAILED_JOB}['seed=1']\n", end="", file=stream)
    print("the sentence", file=stream)
    assert shown.getvalue() == "the sentence\n" and not stream.isatty()
