"""Who may isolate: root, an ordinary user, nobody at all. And the table of system calls against the kernel's headers."""

import ctypes
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from internlm2_core.sandbox import ProcessSandbox, SandboxUnavailableError, run_program
from internlm2_core.sandbox.seccomp import ABSENT, CLONE, NEWEST, PRLIMIT, SOCKET, SYSCALLS, seccomp_filter

SYSTEM_PYTHON = "/usr/bin/python3"
ORDINARY = 65534


def as_ordinary_user(ask: Callable[[], str]) -> str:
    """What a function says in a process of an ordinary user."""
    if os.geteuid() == 0 and not Path(SYSTEM_PYTHON).exists():
        pytest.skip(f"an ordinary user may not read this Python, and there is no {SYSTEM_PYTHON}")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(ORDINARY, ORDINARY, ORDINARY)
                os.setresuid(ORDINARY, ORDINARY, ORDINARY)
            said = ask()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def test_isolation_says_what_it_is_made_of():
    isolation = ProcessSandbox().isolation()
    assert {"user", "mount", "network", "process", "ipc"} <= set(isolation.layers)
    assert "faults of the kernel" in str(isolation)


def test_an_ordinary_user_isolates_too():
    source = (
        "import os\nprint(os.getuid(), os.getpid(), sorted(os.listdir('/')))\n"
        "for act in (lambda: os.mkdir('/mine'), lambda: os.setuid(0), lambda: os.listdir('/home'), lambda: os.chroot('/')):\n"
        "    try: act()\n    except OSError as error: print(error.errno)\n    else: print('ESCAPED')"
    )

    def ask() -> str:
        outcome = run_program(source, sandbox=ProcessSandbox(python=SYSTEM_PYTHON if os.getuid() == ORDINARY else None))
        return f"{outcome.status} {outcome.stdout}{outcome.stderr}"

    said = as_ordinary_user(ask)
    if said.startswith("SandboxUnavailableError"):
        pytest.skip(said)
    assert said.startswith("ok 1900000000 2 [")
    assert said.splitlines()[1:] == ["30", "22", "2", "1"]


def test_where_the_kernel_gives_no_namespace_nothing_is_run(tmp_path):
    """Our own filter forbids what isolation needs: a sandbox inside of it is refused."""

    class Program(ctypes.Structure):
        _fields_ = (("count", ctypes.c_ushort), ("steps", ctypes.c_void_p))

    def ask() -> str:
        steps = seccomp_filter()
        buffer = ctypes.create_string_buffer(steps, len(steps))
        libc = ctypes.CDLL(None)
        assert libc.prctl(38, 1, 0, 0, 0) == 0
        assert libc.prctl(22, 2, ctypes.byref(Program(len(steps) // 8, ctypes.addressof(buffer))), 0, 0) == 0
        python = SYSTEM_PYTHON if os.getuid() == ORDINARY else None
        return run_program("print('ran')", sandbox=ProcessSandbox(python=python)).stdout

    assert as_ordinary_user(ask) == (
        "SandboxUnavailableError: Programs cannot be isolated here, so none is run "
        "(user namespace: Operation not permitted). A container can run them."
    )


def test_an_interpreter_that_is_missing_is_said():
    with pytest.raises((SandboxUnavailableError, FileNotFoundError)):
        run_program("", sandbox=ProcessSandbox(python="/none/python"))


def test_the_table_of_calls_is_the_kernels():
    files = ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm-generic/unistd.h")
    if not all(Path(file).exists() for file in files):
        pytest.skip("the kernel's headers are not installed")
    x86, arm = (
        {
            name: int(number)
            for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(file).read_text())
        }
        for file in files
    )
    named = {**SYSCALLS, **ABSENT, "socket": SOCKET, "clone": CLONE, "prlimit64": PRLIMIT}
    assert named == {name: (x86[name], arm.get(name)) for name in named}
    assert max(number for pair in named.values() for number in pair if number is not None) <= NEWEST


def test_other_processors_are_refused():
    assert seccomp_filter("aarch64") != seccomp_filter("x86_64")
    with pytest.raises(ValueError, match=r"machine='riscv64' must be one of x86_64, aarch64\."):
        seccomp_filter("riscv64")
