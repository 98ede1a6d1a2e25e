"""The command as a person types it: mistakes end in one sentence."""

from pathlib import Path

import pytest
import yaml
from internlm2_conf.asked import Asked
from internlm2_conf.errors import in_one_sentence

from tests.command import internlm2

MISTAKES = {
    "job": (["pretran"], "no job 'pretran' (did you mean pretrain?)"),
    "key": (["pretrain", "phase.stepss=3"], "no key 'phase.stepss' (did you mean phase.steps?)"),
    "argument": (
        ["pretrain", "trainer.limit_val_batchess=2"],
        "no key 'trainer.limit_val_batchess' (did you mean trainer.limit_val_batches?)",
    ),
    "argument of nobody": (["pretrain", "phase.x=2"], "no key 'phase.x'"),
    "group": (["pretrain", "modle=tiny"], "no key 'modle'"),
    "option": (["pretrain", "model=tinyy"], "there is no model/tinyy. model= may be 1.8b"),
    "no option": (["pretrain", "callbacks=null"], "callbacks=null: callbacks must be one of best, cluster, default, "),
    "key of another option": (
        ["pretrain", "layout.tensor=2"],
        "strategy=single has no layout. Choose another strategy first, for example strategy=tensor.",
    ),
    "group of another option": (["pretrain", "layout=shard"], "strategy=single has no layout. Choose another strategy"),
    "unfit option": (
        ["reward", "callbacks=samples", "checkpoint=x"],
        "callbacks=samples does not fit reward: callbacks.samples.tokenizer refers to tokenizer, which reward does not "
        "have. Choose callbacks=",
    ),
    "unfit option, shown": (["reward", "callbacks=samples", "--cfg", "job"], "callbacks=samples does not fit reward"),
    "reference": (["verify", "folder=a/${x}"], "folder refers to x, which verify does not have."),
    "half a reference": (
        ["pretrain", "tokens=x", "output=runs/x${y"],
        "output=runs/x${y must not hold ${, which begins a reference to a key.",
    ),
    "not an override": (["verify", "folder"], "folder cannot be read. Write KEY=VALUE"),
    "group that is needed": (
        ["pretrain", "~callbacks", "tokens=x"],
        "~callbacks cannot be left out as a whole, since trainer.callbacks refers to it. Leave out one, as ~callbacks.",
    ),
    "missing": (["generate", "prompt=x"], "checkpoint must be given: checkpoint=..."),
    "sweep": (
        ["reward", "+experiment=conditions", "checkpoint=x"],
        "this experiment is a sweep over conditions=default,none; add -m to run it, or choose conditions=...",
    ),
    "nothing held out": (
        ["reward", "-m", "+experiment=gamma", "checkpoint=x", "heldout=[]"],
        "would have none; set heldout=... or heldout_share=...",
    ),
    # Each job has its own name for the folder that is not there.
    "file": (
        ["generate", "prompt=x", "checkpoint=nope"],
        "nope is not a model folder: it holds no config.json. Set checkpoint=FOLDER. (",
    ),
    "source": (["convert", "from=nope"], ". Set from=FOLDER. ("),
    "start": (["sft", "conversations=x", "init_from=nope"], ". Set init_from=FOLDER. ("),
    "run": (["verify", "folder=nope"], ". Set folder=FOLDER. ("),
    "nothing": (
        ["pretrain", "tokens=x", "trainer.max_steps="],
        "trainer.max_steps= has no value. It must be one such as trainer.max_steps=450000. (",
    ),
    "word": (
        ["pretrain", "tokens=x", "tokenizer.path=x", "phase.steps=abc"],
        "phase.steps=abc is a text. It must be a value such as phase.steps=450000. (",
    ),
    "null": (
        ["pretrain", "tokens=x", "tokenizer.path=x", "phase.steps=null"],
        "phase.steps=null leaves no value. It must be a value such as phase.steps=450000. (",
    ),
    "value": (["pretrain", "model.size.rope_factor=0.5"], ". Change rope_factor with model.size.rope_factor=.... ("),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_sentence(mistake: str, tmp_path: Path) -> None:
    words, sentence = MISTAKES[mistake]
    result = internlm2(*words, folder=tmp_path)
    assert result.returncode != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("path", ["runs/a#b", "runs/中文", "runs/${x", "runs/a b?"])
def test_paths_are_plain_text(path: str, tmp_path: Path) -> None:
    assert f"{path} " in internlm2("verify", f"folder={path}", folder=tmp_path).stderr


def test_lists_of_paths_are_plain_text(tmp_path: Path) -> None:
    words = ("vocabulary", "inputs=[数据/a.jsonl, b#c.jsonl,d.jsonl]", "--cfg", "job")
    shown = yaml.safe_load(internlm2(*words, folder=tmp_path).stdout)
    assert shown["inputs"] == ["数据/a.jsonl", "b#c.jsonl", "d.jsonl"]


@pytest.mark.parametrize(
    "text",
    [
        "12 + 7 = ?",
        "你好！把这些词排好：a, b",
        "it's [x] {y} $z",
        "a 'b' \"c\"",
        "back\\slash",
        "(1, 2)",
        "x=y",
    ],
)
def test_prompts_are_plain_text(text: str, tmp_path: Path) -> None:
    words = ("generate", f"prompt={text}", "checkpoint=nope", "--cfg", "job")
    result = internlm2(*words, folder=tmp_path)
    assert yaml.safe_load(result.stdout)["job"]["prompt"] == text, result.stderr


def test_a_prompt_may_hold_the_sign_of_a_reference(tmp_path: Path) -> None:
    # Not with --cfg: Hydra resolves twice what it shows.
    result = internlm2("generate", "prompt=echo ${HOME}", "checkpoint=nope", folder=tmp_path)
    assert "nope" in result.stderr and "HOME" not in result.stderr


def test_keys_that_people_name_need_no_sign(tmp_path: Path) -> None:
    words = ("sft", "callbacks=samples", "init_from=x", "conversations=y", "validation.en=a.jsonl")
    result = internlm2(*words, "callbacks.samples.prompts.mine=why", "--cfg", "job", folder=tmp_path)
    cfg = yaml.safe_load(result.stdout)
    assert cfg["job"]["data"]["validation"] == {"en": "a.jsonl"}
    assert cfg["callbacks"]["samples"]["prompts"]["mine"] == "why"
    whole = internlm2("pretrain", "validation={en: a, zh: b}", "--cfg", "job", folder=tmp_path)
    assert yaml.safe_load(whole.stdout)["job"]["data"]["validation"] == {"en": "a", "zh": "b"}


def test_arguments_of_a_target_need_no_sign(tmp_path: Path) -> None:
    words = ("score", "checkpoint=x", "input=y", "on_bad=skip", "job.chunk=7", "--cfg", "job")
    shown = yaml.safe_load(internlm2(*words, folder=tmp_path).stdout)
    assert (shown["job"]["on_bad"], shown["job"]["chunk"]) == ("skip", 7)


SHOWN = {
    "hydra": (["--cfg", "hydra"], "sweep:"),
    "all": (["--cfg", "all"], "_target_: internlm2_conf.chain.verify"),
    "launcher": (["--cfg=job", "hydra/launcher=slurm"], "folder: nowhere"),
    "info": (["--info", "defaults"], "paths"),
    "completion": (["-sc", "install=bash"], "hydra_bash_completion"),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_what_is_shown_does_not_run(kind: str, tmp_path: Path) -> None:
    words, text = SHOWN[kind]
    result = internlm2("verify", "folder=nowhere", *words, folder=tmp_path)
    assert text in result.stdout
    assert "nowhere holds" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("line", "wanted"), [("internlm2 reprod", "reproduce"), ("internlm2 verify fol", "folder=")])
def test_a_shell_completes_jobs_and_keys(
    line: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert internlm2("-sc", "query=bash", folder=tmp_path).stdout.split() == [wanted]
    assert not list(tmp_path.iterdir())


def test_a_sweep_goes_on_with_what_is_left(tmp_path: Path) -> None:
    words = ("plan", "-m", "gpus=8,16", "hydra.sweep.dir=sweep")
    internlm2(*words, folder=tmp_path)
    plans = [tmp_path / "sweep" / number / "plans.json" for number in "01"]
    plans[1].unlink()
    (plans[1].parent / "done.json").unlink()
    before = plans[0].stat().st_mtime_ns
    again = internlm2(*words, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done already") == 1
    assert plans[0].stat().st_mtime_ns == before
    assert plans[1].is_file()
    # Another sweep does not write over what is finished. Jobs that are new to the folder run.
    other = internlm2("plan", "-m", "gpus=8,16,32", "hydra.sweep.dir=sweep", "top=3", folder=tmp_path)
    assert other.returncode == 1 and other.stderr.count("holds a finished job of another sweep (top was ") == 2
    assert "is now 3). Set output=FOLDER to keep both, or delete it." in other.stderr
    assert plans[0].stat().st_mtime_ns == before
    assert (tmp_path / "sweep" / "2" / "plans.json").is_file()


def test_what_is_interrupted_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as left:
        in_one_sentence(interrupted, Asked("pretrain"))
    assert left.value.code == 130
    assert capsys.readouterr().err == "internlm2 pretrain: interrupted.\n"


def test_a_traceback_is_there_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNLM2_TRACEBACK", "1")
    assert "Traceback" in internlm2("generate", "prompt=x", "checkpoint=nope", folder=tmp_path).stderr


def test_help_and_configuration(tmp_path: Path) -> None:
    overview = internlm2("--help", folder=tmp_path)
    assert overview.returncode == 0
    assert "reproduce" in overview.stdout and "hydra/launcher" in overview.stdout
    assert "Pre-train a language model" in internlm2("pretrain", "--help", folder=tmp_path).stdout
    assert "optimizer@critic_optimizer=adamw " in internlm2("ppo", "--help", folder=tmp_path).stdout
    resolved = internlm2("pretrain", "phase=32k", "--cfg", "job", folder=tmp_path).stdout
    assert "rope_base: 1000000.0" in resolved and "${" not in resolved
