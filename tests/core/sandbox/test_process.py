"""One program in its sandbox. What hostile ones try is in ``test_hostile.py``."""

import os

import pytest
from internlm2_core.sandbox import Limits, ProcessSandbox, run_program

FEW = Limits(seconds=5, memory_bytes=256 << 20, processes=8, output_bytes=1000, files_bytes=1 << 20, files=20)


def test_it_reads_and_prints_and_has_its_files():
    outcome = run_program(
        "import part.one\nprint(part.one.x, input(), open('notes.txt').read())\n",
        stdin="读\n",
        files={"part/one.py": "x = 3", "notes.txt": "说"},
    )
    assert (outcome.status, outcome.stdout, outcome.stderr, outcome.exit_code) == ("ok", "3 读 说\n", "", 0)
    assert 0 < outcome.seconds < 10


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("1 / 0", "error", 1),
        ("import sys; sys.exit(7)", "error", 7),
        ("exit()", "ok", 0),
        ("this is not Python", "error", 1),
        ("while True: pass", "timeout", None),
        ("import time; time.sleep(60)", "timeout", None),
        ("x = bytearray(10 ** 9)", "memory", 1),
        ("while True: print('x' * 100)", "output", None),
        ("import os; os.abort()", "killed", -6),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed", -9),
    ],
)
def test_how_it_ended(source, status, code):
    seconds = 0.7 if status == "timeout" else 10.0
    outcome = run_program(source, limits=Limits(seconds, memory_bytes=256 << 20, output_bytes=1000))
    assert (outcome.status, outcome.exit_code) == (status, code)


def test_output_is_cut_where_the_limit_is_and_says_so():
    outcome = run_program("print('字' * 1000)", limits=FEW)
    assert outcome.status == "output"
    assert outcome.stdout == "字" * 333 + "�" + "\n[cut after 1000 bytes]\n"


def test_output_just_within_the_limit_is_whole():
    outcome = run_program("print('x' * 999)", limits=FEW)
    assert (outcome.status, outcome.stdout) == ("ok", "x" * 999 + "\n")


def test_memory_of_all_processes_counts():
    source = "import os, time\nfor _ in range(4): os.fork()\nx = b'1' * (100 << 20)\ntime.sleep(9)"
    assert run_program(source, limits=Limits(seconds=8, memory_bytes=400 << 20)).status == "memory"


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "", "main.py"])
def test_files_stay_inside(name):
    with pytest.raises(ValueError, match="inside the program's folder"):
        run_program("", files={name: "x"})


def test_files_must_fit():
    with pytest.raises(ValueError, match="files_bytes=1048576"):
        run_program("", files={"x": "y" * (2 << 20)}, limits=FEW)


def test_limits_are_positive():
    with pytest.raises(ValueError, match=r"seconds=0 must be positive\."):
        Limits(seconds=0)


def test_much_input_that_nobody_reads():
    assert run_program("print(1)", stdin="x" * (4 << 20)).status == "ok"


def test_input_larger_than_a_pipe():
    assert run_program("print(len(input()))", stdin="x" * (4 << 20)).stdout == f"{4 << 20}\n"


def test_packages_are_those_that_were_named(tmp_path):
    source = "import sys\ntry: import numpy, pip\nexcept ImportError as error: print(error.name)\nimport mine"
    assert run_program(source).stdout == "numpy\n"
    tmp_path.chmod(0o755)
    (tmp_path / "mine.py").write_text("print('mine')")
    assert run_program(source, sandbox=ProcessSandbox(packages=str(tmp_path))).stdout == "numpy\nmine\n"
    tmp_path.chmod(0o700)
    if os.geteuid() == 0:
        with pytest.raises(ValueError, match="must be readable for everyone"):
            run_program("", sandbox=ProcessSandbox(packages=str(tmp_path)))
    with pytest.raises(FileNotFoundError, match=r"none is not a folder\."):
        run_program("", sandbox=ProcessSandbox(packages=str(tmp_path / "none")))
