"""Every job with every option of every group that it uses composes and resolves."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from internlm2_conf.hashing import targets
from internlm2_conf.help import comment, job_help, overview
from internlm2_conf.recipes import CONF, Recipes
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
    ("chat", "answers", "vllm"): "it does not stream",
    ("reward", "callbacks", "samples"): "a reward model says nothing",
    ("sft", "batches", "packed"): "token files belong to pretrain",
    ("sft", "batches", "long"): "token files belong to pretrain",
}
# What these jobs bring themselves, and how they may run.
FEW = {
    ("ppo", "strategy"): ("single", "ddp", "zero1"),
    ("online_rlhf", "strategy"): ("single",),
    ("ppo", "callbacks"): ("ppo",),
}


def fits(job: str, group: str, option: str) -> bool:
    if group == "strategy" and option == "mesh":
        return False  # what the named strategies share
    if (
        group == "callbacks"
        and option in ("none", "watch")
        and "resumes_from: ${callbacks." in (CONF / f"{job}.yaml").read_text()
    ):
        return False  # it resumes from what the callback `checkpoint` writes
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


SWEEPS = [name for name in GROUPS["experiment"] if "sweeper:" in (CONF / "experiment" / f"{name}.yaml").read_text()]


@pytest.mark.parametrize("name", SWEEPS)
def test_every_job_of_a_sweep_composes_in_a_folder_of_its_own(name: str) -> None:
    GlobalHydra.instance().clear()
    with initialize_config_module("internlm2_conf", version_base="1.3"):
        hydra = compose("reward", [f"+experiment={name}"], return_hydra_config=True).hydra
        swept = {key: values.split(",") for key, values in hydra.sweeper.params.items()}
        jobs = [dict(zip(swept, values, strict=True)) for values in product(*swept.values())]
        found = [
            compose("reward", [f"+experiment={name}", *(f"{key}={value}" for key, value in job.items())])
            for job in jobs
        ]
    assert hydra.callbacks.table.needs == ["heldout", "heldout_share"]
    resolved = []
    for cfg in found:
        assert cfg.output == f"runs/reward-{name}"
        fill_missing(cfg)
        resolved.append(OmegaConf.to_container(cfg.job, resolve=True, throw_on_missing=True))
    assert len(resolved) >= 2 and all(resolved.count(job) == 1 for job in resolved)


def test_the_reward_sweeps_are_found() -> None:
    assert {"barrier", "conditions", "gamma", "margin"} <= set(SWEEPS)


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


def test_every_group_and_option_is_in_the_overview(RECIPES) -> None:
    text = overview(RECIPES)
    for group, options in GROUPS.items():
        assert group in text
        assert all(option in text for option in options)


def test_recipes_are_packed_with_the_command() -> None:
    assert (Path(CONF) / "__main__.py").is_file()
