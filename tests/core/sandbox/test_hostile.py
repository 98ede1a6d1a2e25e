"""Programs that try to get out, or to hang the run: none does, and nothing is left of them.

60 of them run by default, INTERNLM2_KILLS=200 runs as many (there are a few more).
"""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from internlm2_core.sandbox import Limits, ProcessSandbox, SandboxUnavailableError, run_program

from tests.core.sandbox.hostile import Program, programs

COUNT = int(os.environ.get("INTERNLM2_KILLS", "60"))
LIMITS = Limits(
    seconds=20, memory_bytes=320 << 20, processes=16, output_bytes=20_000, files_bytes=64 << 20, files=500, open_files=64
)  # fmt: skip
FLOODED = replace(LIMITS, seconds=0.5)
"""The programs of which some run until they are ended."""
BLOCKED = (
    "PermissionError", "OSError", "FileNotFoundError", "ProcessLookupError", "AssertionError", "CalledProcessError",
    "ConnectionRefusedError", "gaierror", "URLError", "MemoryError", "can't start new thread", "FileExistsError",
    "NotADirectoryError", "BlockingIOError", "timed out",
)  # fmt: skip


class World:
    """What programs try to reach, and whether they did."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.signals = folder, []
        self.folder.mkdir()
        (self.folder / "secret").write_text("the canary sings\n")
        self.victim = subprocess.Popen(["sleep", "600"], start_new_session=True)
        self.leaky = os.open(self.folder / "secret", os.O_RDONLY)
        os.set_inheritable(self.leaky, True)
        self.servers = [self._server(family, kind, place) for family, kind, place in self._places()]
        signal.signal(signal.SIGUSR1, lambda number, _: self.signals.append(number))
        self.untouched, self.holds = self.now(), self.held()

    def _places(self) -> list[tuple[int, int, Any]]:
        self.unix, self.abstract = str(self.folder / "socket"), f"canary-{os.getpid()}"
        unix = [(socket.AF_UNIX, socket.SOCK_STREAM, place) for place in (self.unix, f"\0{self.abstract}")]
        return [(socket.AF_INET, kind, ("127.0.0.1", 0)) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)] + unix

    def _server(self, family: int, kind: int, place: Any) -> socket.socket:
        server = socket.socket(family, kind)
        server.bind(place)
        if kind == socket.SOCK_STREAM:
            server.listen()
        server.setblocking(False)
        return server

    def known(self) -> dict[str, Any]:
        tcp, udp = (server.getsockname()[1] for server in self.servers[:2])
        return {
            "secret": str(self.folder / "secret"), "folder": str(self.folder), "project": str(Path(__file__).parents[3]),
            "parent": os.getpid(), "victim": self.victim.pid, "variable": "INTERNLM2_CANARY", "prefix": sys.prefix,
            "tcp": tcp, "udp": udp, "unix": self.unix, "abstract": self.abstract,
        }  # fmt: skip

    def now(self) -> dict[str, Any]:
        """All of it that a program might have changed."""
        files = {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}
        return {
            "files": files,
            "folder": sorted(path.name for path in self.folder.iterdir()),
            "victim": (self.victim.poll(), os.getpriority(os.PRIO_PROCESS, self.victim.pid)),
            "signals": list(self.signals),
            "python": hashlib.sha256(Path(os.__file__).read_bytes()).hexdigest(),
            "host": (socket.gethostname(), Path("/mine").exists(), Path("/usr/mine").exists()),
            "reached": [self._reached(server) for server in self.servers],
        }

    @staticmethod
    def held() -> set[str]:
        """Open files and children of this process. Those of earlier tests may go at any time, none may come."""
        files = {path.name for path in Path("/proc/self/fd").iterdir()}
        return files | {child for task in Path("/proc/self/task").iterdir() for child in children(task)}

    @staticmethod
    def _reached(server: socket.socket) -> bool:
        with contextlib.suppress(BlockingIOError):
            server.recv(1) if server.type == socket.SOCK_DGRAM else server.accept()
            return True
        return False

    def close(self) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        os.close(self.leaky)
        self.victim.kill()
        self.victim.wait()
        for server in self.servers:
            server.close()


def children(task: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return (task / "children").read_text().split()
    return []


class Remembering(ProcessSandbox):
    """Remembers the process namespaces of its programs. It holds them open, so that no other gets their numbers."""

    held: list[int] = []  # noqa: RUF012

    def start(self, files: Mapping[str, str], limits: Limits) -> Any:
        started = super().start(files, limits)
        self.remember(started._init)
        return started

    def remember(self, process: int) -> None:
        self.held.append(os.open(f"/proc/{process}/ns/pid", os.O_RDONLY))

    def left(self) -> list[str]:
        """Processes that are still in one of them."""
        numbers, found = [os.fstat(descriptor).st_ino for descriptor in self.held], []
        for process in Path("/proc").glob("[0-9]*/ns/pid"):
            with contextlib.suppress(OSError):
                if process.stat().st_ino in numbers:
                    found.append(str(process))
        return found

    def forget(self) -> None:
        while self.held:
            os.close(self.held.pop())


@pytest.fixture
def sandbox() -> Iterator[Remembering]:
    sandbox = Remembering()
    yield sandbox
    sandbox.forget()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERNLM2_CANARY", "the canary sings")
        world = World(tmp_path_factory.mktemp("world") / "canary")
        yield world
        world.close()


@pytest.fixture(scope="module", autouse=True)
def isolated() -> None:
    try:
        ProcessSandbox().isolation()
    except SandboxUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("program", programs(COUNT), ids=str)
def test_none_gets_out_and_none_hangs_the_run(program: Program, world: World, sandbox: Remembering):
    outcome = run_program(program.whole(world.known()), limits=FLOODED if program.floods else LIMITS, sandbox=sandbox)
    assert "ESCAPED" not in outcome.stdout
    assert "canary sings" not in outcome.stdout + outcome.stderr
    if not program.floods:
        assert outcome.status in ("memory", "killed") or any(name in outcome.stdout for name in BLOCKED), outcome
    assert sandbox.left() == []
    sandbox.forget()
    assert world.now() == world.untouched
    assert world.held() <= world.holds


HARMLESS = {
    "tcp": (0, 1, 6, 8), "udp": (0, 5), "sockets": (0, 1, 6), "read": (0, 1, 2, 8, 9, 10), "write": (0,),
    "links": (0, 1), "proc": (0, 2, 3), "environment": (0, 2, 4, 5), "signals": (0, 1), "descriptors": (2,),
    "shared memory": (4,), "kernel": (6,) if os.geteuid() else (),
}  # fmt: skip


def test_the_same_attempts_succeed_without_a_sandbox(world: World, tmp_path: Path):
    """Else their failing in it would say nothing. Those are left out that would harm this machine."""
    chosen = [program for program in programs(10**6) if program.number in HARMLESS.get(program.kind, ())]
    assert len(chosen) >= 25
    (tmp_path / "main.py").touch()
    for program in chosen:
        command = [sys.executable, "-c", program.whole(world.known())]
        done = subprocess.run(command, capture_output=True, text=True, close_fds=False, cwd=tmp_path)
        assert "ESCAPED" in done.stdout, (program, done)
    changed = {key for key, value in world.now().items() if value != world.untouched[key]}
    assert changed == {"files", "folder", "signals", "reached"}


def test_several_at_once_and_a_caller_that_is_interrupted(sandbox: Remembering):
    threads = [
        threading.Thread(target=run_program, args=("while True: pass",), kwargs={"limits": FLOODED, "sandbox": sandbox})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells switch off in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            run_program("import time; time.sleep(9)", sandbox=Interrupted())
    finally:
        signal.signal(signal.SIGINT, before)
    assert sandbox.left() == []


class Interrupted(Remembering):
    def start(self, files: Mapping[str, str], limits: Limits) -> Any:
        started = super().start(files, limits)
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
        return started


def test_a_caller_that_is_killed_leaves_nothing(sandbox: Remembering):
    source = (
        "import sys\nfrom internlm2_core.sandbox.process import ProcessSandbox\n"
        "from internlm2_core.sandbox.limits import Limits\n"
        "started = ProcessSandbox().start({'main.py': 'import time; time.sleep(99)'}, Limits())\n"
        "print(started._init, flush=True)\nsys.stdin.read()\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", source], stdin=-1, stdout=-1, text=True)
    sandbox.remember(int(caller.stdout.readline()))
    assert sandbox.left()
    caller.kill()
    caller.wait()
    for _ in range(200):
        if not sandbox.left():
            break
        threading.Event().wait(0.05)
    assert sandbox.left() == []
