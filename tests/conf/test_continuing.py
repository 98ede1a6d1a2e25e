"""What a run may go on from: the same settings and inputs, however it is computed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from internlm2_conf.continuing import FREE, HELD, check_continuing
from internlm2_conf.hashing import sampled_hash
from internlm2_conf.keys import dotted
from internlm2_conf.targets import takes
from omegaconf import DictConfig, OmegaConf

RECIPE = """
name: reward
output: ???
checkpoint: sft
preferences: [pairs.jsonl]
checkpoint_every: 200
validation: {}
resumes_from: ${output}/checkpoints/last.ckpt
optimizer: {_target_: torch.optim.AdamW, lr: 1.0e-5}
loss: {gamma: 2.0}
module: {optimizer: "${optimizer}", loss: "${loss}", recompute: none}
trainer: {devices: 1, max_steps: -1, max_epochs: 1, precision: 32-true, remote: backup}
stages: {ppo: {trainer: {devices: 1}, settings: {clip: 0.2}}}
job:
  module: ${module}
  trainer: ${trainer}
  checkpoint: ${checkpoint}
  preferences: ${preferences}
  output: ${output}
"""


def recipe(output: Path | str = "run", **overrides: Any) -> DictConfig:
    cfg = OmegaConf.create(RECIPE)
    cfg.output = str(output)
    for key, value in overrides.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, force_add=True)
    return cfg


@pytest.fixture(autouse=True)
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was stopped after a checkpoint, with its inputs."""
    monkeypatch.chdir(tmp_path)
    for name in ("sft", "backup"):
        Path(name).mkdir()
    Path("sft/model.safetensors").write_bytes(bytes(3_000_000))
    Path("pairs.jsonl").write_text("{}\n")
    check_continuing(recipe())
    Path("run/checkpoints").mkdir()
    Path("run/checkpoints/last.ckpt").write_text("weights")


def test_a_run_goes_on_as_it_began() -> None:
    check_continuing(recipe())


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("loss__gamma", 0, "loss.gamma was 2.0, is now 0"),
        ("optimizer__lr", 1e-2, "optimizer.lr was 1e-05, is now 0.01"),
        ("preferences", ["a", "b"], 'preferences was ["pairs.jsonl"], is now ["a", "b"]'),
        ("module__loss", {"gamma": 1}, 'module.loss was "${loss}", is now not set'),
        ("trainer__precision", "bf16-mixed", 'trainer.precision was "32-true", is now "bf16-mixed"'),
        ("trainer__max_epochs", 3, "trainer.max_epochs was 1, is now 3"),
        ("stages__ppo__settings__clip", 0.1, "stages.ppo.settings.clip was 0.2, is now 0.1"),
        ("spikes", None, "spikes was not set, is now null"),
    ],
)
def test_other_settings_are_named(key: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_continuing(recipe(**{key: value}))
    assert words in str(caught.value)
    assert "Set output=FOLDER" in str(caught.value) and "delete run/checkpoints/last.ckpt" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"trainer__devices": 8, "trainer__max_steps": 500},
        {"strategy": {"_target_": "internlm2_parallel.MeshStrategy"}, "layout": {"shard": 8}},
        {"callbacks": {"a": 1}, "logger": None, "checkpoint_every": 10},
        {"module__recompute": "full"},
        {"validation__zh": "heldout.jsonl"},
        {"stages__ppo__trainer__devices": 2},
        {"roles___target_": "internlm2_align.roles.on_ray.ray_roles", "roles__resources": {"critic": {"num_gpus": 1}}},
    ],
)
def test_how_and_how_long_it_is_computed_may_change(change: dict[str, Any]) -> None:
    check_continuing(recipe(**change))


def test_many_differences_are_counted() -> None:
    with pytest.raises(ValueError, match=r"; 4 more\)"):
        check_continuing(recipe(**{f"key{number}": number for number in range(10)}))


def test_changed_inputs_are_named() -> None:
    with Path("sft/model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    said = r"sft has other contents now \(model\.safetensors has as many bytes as before, but others\)"
    with pytest.raises(ValueError, match=said):
        check_continuing(recipe())
    Path("sft/model.safetensors").write_bytes(bytes(2_000))
    Path("sft/more.json").write_text("{}")
    with pytest.raises(ValueError, match=r"model\.safetensors had 3,000,000 bytes and has 2,000, more\.json is new\)"):
        check_continuing(recipe())
    Path("sft/model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"\(model\.safetensors is gone, more\.json is new\)"):
        check_continuing(recipe())


def test_what_is_no_input_may_change() -> None:
    Path("run/checkpoints/last.ckpt").write_text("further")
    Path("backup/last.ckpt").write_text("a copy")  # named below the trainer
    Path("sft/.cache").write_text("hidden")
    check_continuing(recipe())


def test_a_run_and_its_inputs_may_be_moved() -> None:
    shutil.move("sft", "elsewhere")
    shutil.move("run", "there")
    check_continuing(recipe("there", checkpoint="elsewhere"))


def test_without_a_checkpoint_a_run_starts_anew() -> None:
    Path("run/checkpoints/last.ckpt").unlink()
    check_continuing(recipe(loss__gamma=0))
    Path("run/checkpoints/last.ckpt").touch()
    check_continuing(recipe(loss__gamma=0))
    with pytest.raises(ValueError, match=r"loss\.gamma was 0, is now 2\.0"):
        check_continuing(recipe())


def test_what_is_named_may_change_and_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    faster = {"optimizer__lr": 1e-4}
    with pytest.raises(ValueError, match=r"resume\.change=\[optimizer\.lr\], or delete"):
        check_continuing(recipe(**faster))
    check_continuing(recipe(**faster, resume__change=["optimizer.lr"]))
    assert "run resumes with optimizer.lr was 1e-05, is now 0.0001." in capsys.readouterr().err
    record = json.loads(Path("run/settings.json").read_text())
    assert record["settings"]["optimizer.lr"] == 1e-4
    assert [change["was"] for change in record["changes"]] == [{"optimizer.lr": 1e-5}]
    check_continuing(recipe(**faster))  # the next start need not name it
    check_continuing(recipe(**faster, resume__change=["optimizer"]))
    assert json.loads(Path("run/settings.json").read_text()) == record


def test_nothing_else_changes_with_it() -> None:
    with pytest.raises(ValueError, match=r"loss\.gamma was 2\.0, is now 0\)") as caught:
        check_continuing(recipe(optimizer__lr=1e-4, loss__gamma=0, resume__change=["optimizer.lr"]))
    assert "resume.change" not in str(caught.value)
    assert json.loads(Path("run/settings.json").read_text())["settings"]["optimizer.lr"] == 1e-5
    with pytest.raises(ValueError, match=r"resume\.change=loss\.gamma must be among phase\.peak_lr, "):
        check_continuing(recipe(loss__gamma=0, resume__change=["loss.gamma"]))


def test_a_run_without_a_record_goes_on_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run/settings.json").unlink()
    check_continuing(recipe(loss__gamma=0))
    assert "run holds no settings.json: resumes without comparing settings" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"loss\.gamma was 0"):
        check_continuing(recipe())


def test_jobs_that_never_go_on_are_left_alone() -> None:
    cfg = OmegaConf.create({"output": "other", "job": {}})
    check_continuing(cfg)
    assert not Path("other").exists()


def test_samples_reach_both_ends_of_a_long_file() -> None:
    before = sampled_hash(Path("sft"))
    content = bytearray(3_000_000)
    for place in (0, 2_999_999):
        content[place] = 1
        Path("sft/model.safetensors").write_bytes(content)
        content[place] = 0
        assert sampled_hash(Path("sft")) != before
    Path("sft/model.safetensors").write_bytes(content)
    assert sampled_hash(Path("sft")) == before


def test_the_recipes_that_resume_say_from_what_and_have_the_free_keys() -> None:
    GlobalHydra.instance().clear()
    with initialize_config_module("internlm2_conf", version_base="1.3"):
        found = {job: compose(job, ["strategy=ddp"]) for job in ("pretrain", "sft")}
        found |= {job: compose(job, ["strategy=ddp", "callbacks.checkpoint.dirpath=else"]) for job in ("reward", "ppo")}
        found["rloo"] = compose("rloo", ["roles=ray"])
        found["online_rlhf"] = compose("online_rlhf")
    assert found["online_rlhf"].resumes_from == "runs/online_rlhf/round-*"
    assert found["pretrain"].resumes_from == "runs/pretrain/checkpoints/*.ckpt"
    assert {found[job].resumes_from for job in ("reward", "ppo")} == {"else/*.ckpt"}
    keys = {key for cfg in found.values() for key in dotted(OmegaConf.to_container(cfg))}
    for key in (set(FREE) | set(HELD)) - keys:
        node, _, argument = key.rpartition(".")
        targets = [OmegaConf.select(cfg, f"{node}._target_") for cfg in found.values()]
        assert any(takes(target, argument) for target in targets if target), key


def test_a_run_resumes_from_wherever_its_checkpoints_are() -> None:
    elsewhere = recipe(resumes_from="elsewhere/last.ckpt", loss__gamma=0)
    check_continuing(elsewhere)  # nothing there: a new run, with a record beside its checkpoints
    Path("elsewhere/last.ckpt").touch()
    for output in ("run", "another"):
        with pytest.raises(ValueError, match=r"loss\.gamma was 0.*delete elsewhere/last\.ckpt"):
            check_continuing(recipe(output, resumes_from="elsewhere/last.ckpt"))
