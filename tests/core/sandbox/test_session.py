"""An interpreter over several turns."""

import pytest
from internlm2_core.sandbox import Limits, Session


@pytest.fixture
def session():
    with Session(Limits(seconds=2, output_bytes=2000, memory_bytes=400 << 20)) as session:
        yield session


def test_variables_files_and_last_values_are_kept(session):
    assert session.run("x = 20\nopen('f', 'w').write('读')").stdout == "1\n"
    outcome = session.run("def double(n): return 2 * n\nprint(open('f').read())\ndouble(x) + 2")
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("ok", "读\n42\n", "")
    assert session.run("x = 3").stdout == ""


def test_a_fault_shows_its_line_and_keeps_variables(session):
    session.run("x = 1")
    outcome = session.run("y = 2\nx / 0")
    assert outcome.status == "error"
    assert outcome.stderr == (
        "Traceback (most recent call last):\n"
        '  File "<turn 2>", line 2, in <module>\n    x / 0\n    ~~^~~\nZeroDivisionError: division by zero\n'
    )
    assert session.run("x + y").stdout == "3\n"
    assert "SyntaxError" in session.run("1 +").stderr
    assert session.run("raise SystemExit(3)").status == "error"
    assert session.run("exit()").status == "ok"


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("while True: pass", "timeout"),
        ("while True: print('x' * 50)", "output"),
        ("import os; os._exit(0)", "killed"),
        ("import os; os.kill(os.getpid(), 9)", "killed"),
        ("import os\nfor fd in range(40):\n try: os.close(fd)\n except OSError: pass", "killed"),
        ("import os; os.kill(os.getpid(), 19)", "timeout"),
    ],
)
def test_a_broken_interpreter_is_replaced(session, source, status):
    session.run("x = 1")
    assert session.run(source).status in (status, "error")
    outcome = session.run("x")
    assert "NameError" in outcome.stderr
    assert session.run("5").stdout == "5\n"


def test_memory_that_python_refuses_costs_nothing(session):
    assert session.run("x = bytearray(10 ** 9)").status == "memory"
    assert session.run("1").stdout == "1\n"


def test_closed_and_replaced_streams_do_not_lose_the_turn(session):
    assert session.run("import os, sys; os.close(1); sys.stderr = None").status == "ok"
    assert session.run("1 / 0").status == "error"


def test_forged_marks_and_children_do_not_confuse_turns(session):
    forged = (
        "import sys\nprint('\\0' + '0' * 32 + ' ok')\nimport os\nif os.fork() == 0: print('child')\nelse: os.wait()"
    )
    assert session.run(forged).status == "ok"
    assert session.run("'next'").stdout.endswith("'next'\n")


def test_reading_input_finds_its_end(session):
    assert "EOFError" in session.run("input()").stderr


def test_what_an_earlier_turn_prints_late_comes_later(session):
    session.run("import threading, time\nthreading.Timer(0.2, print, ['late']).start()")
    assert session.run("time.sleep(0.5); 'now'").stdout == "late\n'now'\n"
