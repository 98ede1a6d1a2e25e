"""The container's command line, with a command of our own in its place: it runs the program without a container."""

import json
import sys
from pathlib import Path

import pytest
from internlm2_core.sandbox import ContainerSandbox, Limits, SandboxUnavailableError, Session, run_program

FAKE = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
folder = Path(__file__).parent
with open(folder / "calls.jsonl", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + chr(10))
if sys.argv[1] == "run":
    image = sys.argv.index("python:3.11-slim")
    options = sys.argv[2:image]
    env = {{word.split("=", 2)[1]: word.split("=", 2)[2] for word in options if word.startswith("--env=")}}
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "scratch").mkdir(exist_ok=True)
    os.chdir(folder / "scratch")
    env["PATH"] = os.path.dirname(sys.executable)
    os.execve(sys.executable, sys.argv[image + 1 :], env)
elif sys.argv[1] == "kill":
    os.kill(int((folder / "pid").read_text()), 9)
"""


@pytest.fixture
def podman(tmp_path):
    file = tmp_path / "podman"
    file.write_text(FAKE)
    file.chmod(0o755)
    return file


def calls(podman: Path) -> list[list[str]]:
    return [json.loads(line) for line in (podman.parent / "calls.jsonl").read_text().splitlines()]


def test_a_program_with_its_files_and_input(podman):
    sandbox = ContainerSandbox(str(podman))
    source = "import part; print(part.x, input())"
    outcome = run_program(source, stdin="读", files={"part.py": "x = 3"}, sandbox=sandbox)
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("ok", "3 读\n", "")
    (words,) = calls(podman)
    for word in (
        "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pull=never", "--rm",
        "--user=65534:65534", "--pids-limit=33", f"--memory={(1 << 30) + (64 << 20)}b", "--ulimit=core=0:0",
        f"--tmpfs=/scratch:size={64 << 20},nr_inodes=1025,mode=1777",
    ):  # fmt: skip
        assert word in words
    assert not any(word.startswith("--volume") for word in words)


def test_a_limit_kills_and_removes_the_container(podman):
    outcome = run_program("while True: pass", limits=Limits(seconds=1), sandbox=ContainerSandbox(str(podman)))
    assert outcome.status == "timeout"
    started, killed, removed = calls(podman)
    name = next(word for word in started if word.startswith("--name=")).removeprefix("--name=")
    assert killed == ["kill", "--signal=KILL", name]
    assert removed == ["rm", "--force", name]


def test_a_session(podman):
    with Session(sandbox=ContainerSandbox(str(podman), packages="/opt/packages")) as session:
        session.run("x = 4")
        assert session.run("x + 1").stdout == "5\n"
    assert "--volume=/opt/packages:/packages:ro" in calls(podman)[0]


@pytest.mark.parametrize(
    ("code", "status", "exit_code"), [(3, "error", 3), (137, "memory", None), (139, "killed", -11)]
)
def test_exit_codes_of_the_command(podman, code, status, exit_code):
    podman.write_text(f"#!/bin/sh\nexit {code}\n")
    outcome = run_program("", sandbox=ContainerSandbox(str(podman)))
    assert (outcome.status, outcome.exit_code) == (status, exit_code)


def test_refusals_say_what_is_missing(podman, tmp_path):
    with pytest.raises(SandboxUnavailableError, match=r"absent is not installed, so no program is run\."):
        run_program("", sandbox=ContainerSandbox(str(tmp_path / "absent")))
    podman.write_text("#!/bin/sh\necho no such image >&2\nexit 125\n")
    with pytest.raises(SandboxUnavailableError, match=r"\(no such image\)"):
        run_program("", sandbox=ContainerSandbox(str(podman)))
    with pytest.raises(SandboxUnavailableError, match=r"\(no such image\)"):
        ContainerSandbox(str(podman)).isolation()
