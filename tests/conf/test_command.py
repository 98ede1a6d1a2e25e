"""The command as a person types it: mistakes end in one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

MISTAKES = {
    "job": (["pretran"], "no job 'pretran' (did you mean pretrain?)"),
    "key": (["pretrain", "phase.stepss=3"], "no key 'phase.stepss' (did you mean phase.steps?)"),
    "argument": (["pretrain", "trainer.limit_val_batches=2"], "every key, +trainer.limit_val_batches=... adds it if"),
    "group": (["pretrain", "modle=tiny"], "no key 'modle'"),
    "option": (["pretrain", "model=tinyy"], "there is no model/tinyy; model= may be 1.8b"),
    "missing": (["generate", "prompt=x"], "checkpoint must be given: checkpoint=..."),
    "sweep": (
        ["reward", "+experiment=conditions", "checkpoint=x"],
        "this experiment is a sweep over conditions=default,none; add -m to run it, or choose conditions=...",
    ),
    "nothing held out": (
        ["reward", "-m", "+experiment=gamma", "checkpoint=x", "heldout=[]"],
        "would have none; set heldout=... or heldout_share=...",
    ),
    "file": (["generate", "prompt=x", "checkpoint=nope"], "nope/config.json does not exist; set checkpoint="),
}


def command(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "internlm2_conf", *words]
    return subprocess.run(
        program, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_sentence(mistake: str, tmp_path: Path) -> None:
    words, sentence = MISTAKES[mistake]
    result = command(*words, folder=tmp_path)
    assert result.returncode != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["12 + 7 = ?", "你好！把这些词排好：a, b", "it's [x] {y} $z", "a 'b' \"c\"", "back\\slash", "(1, 2)", "x=y"]
)
def test_prompts_are_plain_text(text: str, tmp_path: Path) -> None:
    words = ("generate", f"prompt={text}", "checkpoint=nope", "--cfg", "job")
    result = command(*words, folder=tmp_path)
    assert yaml.safe_load(result.stdout)["job"]["prompt"] == text, result.stderr


def test_keys_that_people_name_need_no_sign(tmp_path: Path) -> None:
    words = ("sft", "callbacks=samples", "init_from=x", "conversations=y", "validation.en=a.jsonl")
    result = command(*words, "callbacks.samples.prompts.mine=why", "--cfg", "job", folder=tmp_path)
    cfg = yaml.safe_load(result.stdout)
    assert cfg["job"]["validation"] == {"en": "a.jsonl"}
    assert cfg["callbacks"]["samples"]["prompts"]["mine"] == "why"
    whole = command("pretrain", "validation={en: a, zh: b}", "--cfg", "job", folder=tmp_path)
    assert yaml.safe_load(whole.stdout)["job"]["validation"] == {"en": "a", "zh": "b"}


def test_a_sweep_goes_on_with_what_is_left(tmp_path: Path) -> None:
    words = ("plan", "-m", "gpus=8,16", "hydra.sweep.dir=sweep")
    command(*words, folder=tmp_path)
    plans = [tmp_path / "sweep" / number / "plans.json" for number in "01"]
    plans[1].unlink()
    (plans[1].parent / "done.json").unlink()
    before = plans[0].stat().st_mtime_ns
    again = command(*words, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done already") == 1
    assert plans[0].stat().st_mtime_ns == before
    assert plans[1].is_file()
    changed = command(*words, "top=3", folder=tmp_path)
    assert "done already" not in changed.stdout


def test_a_traceback_is_there_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNLM2_TRACEBACK", "1")
    assert "Traceback" in command("generate", "prompt=x", "checkpoint=nope", folder=tmp_path).stderr


def test_help_and_configuration(tmp_path: Path) -> None:
    overview = command("--help", folder=tmp_path)
    assert overview.returncode == 0
    assert "reproduce" in overview.stdout and "hydra/launcher" in overview.stdout
    assert "Pre-train a language model" in command("pretrain", "--help", folder=tmp_path).stdout
    resolved = command("pretrain", "phase=32k", "--cfg", "job", folder=tmp_path).stdout
    assert "rope_base: 1000000.0" in resolved and "${" not in resolved
