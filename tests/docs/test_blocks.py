"""Python blocks of the pages run, and each command in them composes."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from internlm2_conf.__main__ import main

# Blocks that cannot run here, by a part of their text, and why. A page may say it itself: ```python not run: REASON
NOT_RUN = {
    "devices=8": "needs eight ranks",
}


@pytest.fixture
def short_trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainers stop after two batches, on CPU, and write no logs."""
    original = L.Trainer.__init__

    def small(self: Any, *args: Any, **settings: Any) -> None:
        settings |= {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        settings |= {"max_steps": 2, "limit_train_batches": 2, "limit_val_batches": 1, "val_check_interval": None}
        original(self, *args, **settings | {"precision": "32-true"})

    monkeypatch.setattr(L.Trainer, "__init__", small)


def runnable(found: list[Any]) -> str:
    """The Python of a page, as one module. An ellipsis as the body of a loop ends the loop."""
    texts = [
        block.text
        for block in found
        if block.language == "python" and not block.not_run and not any(part in block.text for part in NOT_RUN)
    ]
    return re.sub(r"^(for .*:\n +)\.\.\.$", r"\1break", "\n".join(texts), flags=re.M)


def test_python_knows_its_names(python_page: str, blocks: Callable[[str], list[Any]]) -> None:
    words = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "--output-format", "concise", "-"]
    done = subprocess.run(words, input=runnable(blocks(python_page)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("short_trainers")
def test_python_runs(python_page: str, blocks: Callable[[str], list[Any]], world: Path) -> None:
    code = runnable(blocks(python_page))
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, python_page, "exec"), names)
    for name, value in list(names.items()):
        if name.startswith("test_"):
            value()


def lines(text: str) -> Iterator[str]:
    """Lines of a shell block, continued ones joined."""
    for line in text.replace("\\\n", " ").splitlines():
        yield line.strip()


def once(word: str) -> str:
    """An override of a sweep as one of its jobs has it."""
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        return word
    if not override.is_sweep_override():
        return word
    return f"{override.input_line.partition('=')[0]}={next(override.sweep_string_iterator())}"


def commands(page: str, root: Path, found: list[Any]) -> list[list[str]]:
    """Words of every ``internlm2 ...`` in shell blocks and between backticks, without placeholders."""
    texts = [line for block in found if block.language in ("bash", "sh", "console") for line in lines(block.text)]
    prose = re.sub(r"^ *```.*?^ *```", "", (root / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    texts += re.findall(r"`(internlm2 [^`]+)`", prose.replace("\n", " "))
    made = []
    for text in texts:
        words = shlex.split(text, comments=True)
        while words and re.fullmatch(r"[A-Z0-9_]+=\S*", words[0]):
            words = words[1:]
        own = "--config-dir" in words  # a job of the reader's, in a folder that the page does not write
        if len(words) > 1 and not own and words[0] in ("internlm2", ".venv/bin/internlm2") and not words[1].isupper():
            sweep = {"-m", "--multirun"} & set(words)
            kept = [word for word in words[1:] if "..." not in word and word not in ("-m", "--multirun")]
            made.append([once(word) for word in kept] if sweep else kept)
    return made


def compose(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Empty, or why a command does not compose."""
    GlobalHydra.instance().clear()
    try:
        main(words if "--help" in words else [*words, "--cfg", "job"])
    except SystemExit as end:
        if end.code not in (None, 0):
            return f"internlm2 {shlex.join(words)}\n    {end.code}"
    finally:
        capsys.readouterr()
    return ""


def test_commands_compose(
    page: str, root: Path, blocks: Callable[[str], list[Any]], world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = commands(page, root, blocks(page))
    if not found:
        pytest.skip("the page has no command")
    wrong = [sentence for words in found if (sentence := compose(words, capsys))]
    assert not wrong, "\n".join(wrong)


def test_a_wrong_command_is_found(capsys: pytest.CaptureFixture[str], world: Path) -> None:
    assert "phase.stepss" in compose(["pretrain", "phase.stepss=3"], capsys)
    assert compose(["pretrain", "phase.steps=3"], capsys) == ""
