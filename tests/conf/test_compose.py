"""Every job with every option of every group that it uses composes and resolves, and training jobs are built."""

import re
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from internlm2_align import Conditions, ConversationEncoder, RewardModel
from internlm2_align.reward.network import start_reward
from internlm2_conf.hashing import targets
from internlm2_conf.help import comment, job_help, overview
from internlm2_conf.recipes import CONF, Recipes
from internlm2_core import load_tokenizer
from internlm2_data.tokens import TokenWriter
from omegaconf import OmegaConf

RECIPES = Recipes()
JOBS = list(RECIPES.jobs())
GROUPS = RECIPES.groups()


def own_groups(job: str) -> list[str]:
    text = (CONF / f"{job}.yaml").read_text()
    return [group for group in GROUPS if f"- {group}: " in text]


# Options that need keys which a job does not have, and why.
UNFIT = {
    ("pretrain", "batches", "chat"): "conversations belong to sft",
    ("pretrain", "batches", "chat_mixed"): "conversations belong to sft",
    ("pretrain", "batches", "chat_long"): "conversations belong to sft",
    ("chat", "answers", "vllm"): "it does not stream",
    ("sft", "batches", "packed"): "token files belong to pretrain",
    ("sft", "batches", "long"): "token files belong to pretrain",
    ("pretrain", "phase", "sft"): "it keeps the positions of the model that sft starts from",
    **{("sft", "model", size): "sft takes the model in init_from" for size in ("1.8b", "7b", "20b", "shape", "tiny")},
}
# What these jobs bring themselves, and how they may run.
FEW = {
    ("ppo", "strategy"): ("single", "ddp", "zero1"),
    ("online_rlhf", "strategy"): ("single",),
    ("pretrain", "callbacks"): ("default", "samples", "cluster", "watch"),
    ("sft", "callbacks"): ("default", "samples", "cluster", "watch"),
    ("reward", "callbacks"): ("reward", "watch"),
    ("ppo", "callbacks"): ("ppo", "rollouts", "watch"),
    ("dpo", "callbacks"): ("dpo", "watch"),
    ("dpo", "conditions"): ("none",),
}


def fits(job: str, group: str, option: str) -> bool:
    if group == "strategy" and option == "mesh":
        return False  # what the named strategies share
    if (job, group) in FEW:
        return option in FEW[job, group]
    if group == "experiment":
        # An experiment is the record of one job's runs.
        return "stages:" in (CONF / group / f"{option}.yaml").read_text() or option == "smoke"
    return (job, group, option) not in UNFIT


def fill_missing(node: Any) -> None:
    if OmegaConf.is_dict(node):
        for key in node:
            if OmegaConf.is_missing(node, key):
                node[key] = 7
            elif not OmegaConf.is_interpolation(node, key):
                fill_missing(node[key])
    elif OmegaConf.is_list(node):
        for item in node._iter_ex(resolve=False):
            fill_missing(item)


def choices() -> list[tuple[str, str]]:
    found = [(job, "") for job in JOBS]
    for job in JOBS:
        found += [
            (job, f"{group}={option}")
            for group in own_groups(job)
            for option in GROUPS[group]
            if fits(job, group, option)
        ]
    return found


def composed(job: str, override: str) -> dict[str, object]:
    GlobalHydra.instance().clear()
    with initialize_config_module("internlm2_conf", version_base="1.3"):
        cfg = compose(job, [override] if override else [])
    fill_missing(cfg)
    resolved = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return resolved


@pytest.mark.parametrize(("job", "override"), choices(), ids=lambda value: value or "default")
def test_composes_and_resolves(job: str, override: str) -> None:
    cfg = composed(job, override)
    assert "_target_" in cfg["job"]
    assert cfg["name"] == job
    assert cfg["output"] == f"runs/{job}"


def test_the_pretraining_rows_of_ppo_may_be_long() -> None:
    cfg = composed("ppo", "batches@pretrain=long")
    pretrain: Any = cfg["pretrain"]
    assert pretrain["long"]["sources"]["folder"] == "runs/tokens/long" and pretrain["long_fraction"] == 0.0


def sweeps() -> dict[str, str]:
    """The job of each experiment that is a sweep, from the command in its header."""
    texts = {name: (CONF / "experiment" / f"{name}.yaml").read_text() for name in GROUPS["experiment"]}
    return {
        name: re.search(rf"internlm2 (\w+) -m \+experiment={name} ", text).group(1)  # type: ignore[union-attr]
        for name, text in texts.items()
        if "sweeper:" in text
    }


SWEEPS = sweeps()


@pytest.mark.parametrize(("name", "job_name"), SWEEPS.items())
def test_every_job_of_a_sweep_composes_in_a_folder_of_its_own(name: str, job_name: str) -> None:
    GlobalHydra.instance().clear()
    with initialize_config_module("internlm2_conf", version_base="1.3"):
        hydra = compose(job_name, [f"+experiment={name}"], return_hydra_config=True).hydra
        swept = {key: values.split(",") for key, values in hydra.sweeper.params.items()}
        jobs = [dict(zip(swept, values, strict=True)) for values in product(*swept.values())]
        found = [
            compose(job_name, [f"+experiment={name}", *(f"{key}={value}" for key, value in job.items())])
            for job in jobs
        ]
    assert hydra.callbacks.table.needs == ["heldout", "heldout_share"]
    resolved = []
    for cfg in found:
        assert cfg.output == f"runs/{job_name}-{name}"
        fill_missing(cfg)
        resolved.append(OmegaConf.to_container(cfg.job, resolve=True, throw_on_missing=True))
    assert len(resolved) >= 2 and all(resolved.count(job) == 1 for job in resolved)


def test_words_of_hydra_need_no_plus_sign() -> None:
    GlobalHydra.instance().clear()
    assert RECIPES.compose("pretrain", ["schedule._partial_=true"]).schedule._partial_ is True


def test_the_sweeps_are_found() -> None:
    jobs = ("reward", "ppo", "online_rlhf")
    reward, ppo, rounds = (sorted(name for name, job in SWEEPS.items() if job == wanted) for wanted in jobs)
    assert reward == ["barrier", "conditions", "gamma", "margin"]
    assert ppo == ["critic", "pretrain_loss"]
    assert rounds == ["fast_path"]


@pytest.mark.parametrize("job", JOBS)
def test_targets_exist(job: str) -> None:
    from importlib.util import find_spec

    assert all(find_spec(package) for package in targets(composed(job, "")))


@pytest.mark.parametrize("job", JOBS)
def test_help_teaches(job: str) -> None:
    assert job in overview(RECIPES)
    about = comment(CONF / f"{job}.yaml")
    assert about and about.splitlines()[0].endswith(".")
    assert about in job_help(job, RECIPES)


def test_every_group_and_option_is_in_the_overview() -> None:
    text = overview(RECIPES)
    for group, options in GROUPS.items():
        assert group in text
        assert all(option in text for option in options)


def test_recipes_are_packed_with_the_command() -> None:
    assert (Path(CONF) / "__main__.py").is_file()


TRAINING = {
    "pretrain": "tokens={0}/tokens long_tokens={0}/long tokenizer.path={0}/base model.size.vocab_size=300",
    "sft": "init_from={0}/base conversations={0}/chats.jsonl phase.context=64",
    "reward": "checkpoint={0}/base preferences=[{0}/pairs.jsonl] heldout=[]",
    "dpo": "checkpoint={0}/base preferences=[{0}/pairs.jsonl] heldout=[]",
    "rloo": "checkpoint={0}/base reward={0}/reward prompts={0}/a heldout={0}/b domains={{a:maths}} tokens={0}/tokens",
    "ppo": "checkpoint={0}/base reward={0}/reward prompts={0}/a heldout={0}/b domains={{a:maths}} tokens={0}/tokens",
}
# What an option needs beside it.
BESIDE = {
    ("pretrain", "phase=32k"): "batches=long",
    ("pretrain", "phase=enhancement"): "batches=long",
    ("pretrain", "model=checkpoint"): "init_from={0}/base",
    ("sft", "batches=chat_mixed"): "batches.pretrain.sources.folder={0}/tokens",
    ("sft", "batches=chat_long"): "batches.pretrain.sources.folder={0}/tokens long_tokens={0}/long",
    ("sft", "tokenizer=trained"): "tokenizer.path={0}/base",
}
# What a machine without a GPU, a hub or released weights cannot build.
ELSEWHERE = {"trainer=gpu": "CUDA", "logger=wandb": "wandb", "tokenizer=released": "the released tokenizer"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, save_random_model: Callable[..., Path]) -> Path:
    """Something of everything that the training jobs read."""
    folder = tmp_path_factory.mktemp("inputs")
    shape = {"layers": 8, "dim": 32, "num_kv_heads": 8, "q_per_kv": 1, "ffn_dim": 48, "head_dim": 4}
    save_random_model(folder / "base", max_positions=64, vocab_size=304, **shape)
    encoder = ConversationEncoder(load_tokenizer(folder / "base"), Conditions({"maths": {"en": "M"}}), 64)
    model = RewardModel(partial(start_reward, folder / "base"), encoder)
    model.configure_model()
    model.save(folder / "reward")
    for name in ("tokens/web", "long/book"):
        (folder / name).parent.mkdir()
        with TokenWriter(folder / name, 300) as out:
            out.add([7] * 500)
    (folder / "chats.jsonl").write_text('{"messages": [{"role": "user", "content": "q"}]}\n')
    return folder


@pytest.mark.parametrize(
    ("job", "override"),
    [(job, override) for job, override in choices() if job in TRAINING],
    ids=lambda value: value or "default",
)
def test_is_built(job: str, override: str, inputs: Path) -> None:
    """Module, data and Trainer are made, networks on the meta device. Nothing is run."""
    if override in ELSEWHERE:
        pytest.skip(f"needs {ELSEWHERE[override]}")
    words = [*TRAINING[job].format(inputs).split(), *([override] if override else [])]
    words += [word.format(inputs) for word in BESIDE.get((job, override), "").split()]
    if override.startswith("strategy=") and override != "strategy=single":
        words += ["trainer.devices=8", *(["model=7b", "model.size.vocab_size=304"] if job == "pretrain" else [])]
    if override == "model=checkpoint":
        words = [word for word in words if "vocab_size" not in word]
    cfg = RECIPES.compose(job, words)
    made = {key: instantiate(node) for key, node in cfg.job.items() if OmegaConf.is_dict(node) and "_target_" in node}
    assert isinstance(made["data"], L.LightningDataModule) and isinstance(made["trainer"], L.Trainer)
    with torch.device("meta"):
        made["module"].configure_model()
    assert all(weight.is_meta for weight in made["module"].parameters())
