"""Every job with every option of every group that it uses composes and resolves."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from internlm2_conf.chain import targets
from internlm2_conf.help import CONF, comment, groups, job_help, job_names, overview
from omegaconf import OmegaConf

JOBS = job_names()


def own_groups(job: str) -> list[str]:
    text = (CONF / f"{job}.yaml").read_text()
    return [group for group in groups() if f"- {group}: " in text]


def choices() -> list[tuple[str, str]]:
    found = [(job, "") for job in JOBS]
    for job in JOBS:
        found += [(job, f"{group}={option}") for group in own_groups(job) for option in groups()[group]]
    return found


def composed(job: str, override: str) -> dict[str, object]:
    GlobalHydra.instance().clear()
    with initialize_config_module("internlm2_conf", version_base="1.3"):
        cfg = compose(job, [override] if override else [])
    node = OmegaConf.to_container(cfg)
    assert isinstance(node, dict)
    missing = [key for key, value in node.items() if value == "???"]
    for key in missing:
        cfg[key] = "given"
    for key in ("phase", "batches"):
        if key in cfg and "steps" in cfg[key] and OmegaConf.is_missing(cfg[key], "steps"):
            cfg[key].steps = 7
    resolved = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return resolved


@pytest.mark.parametrize(("job", "override"), choices(), ids=lambda value: value or "default")
def test_composes_and_resolves(job: str, override: str) -> None:
    cfg = composed(job, override)
    assert "_target_" in cfg["job"]
    assert cfg["name"] == job
    assert cfg["output"] == f"runs/{job}"


@pytest.mark.parametrize("job", JOBS)
def test_targets_exist(job: str) -> None:
    from importlib.util import find_spec

    assert all(find_spec(package) for package in targets(composed(job, "")))


@pytest.mark.parametrize("job", JOBS)
def test_help_teaches(job: str) -> None:
    assert job in overview()
    about = comment(CONF / f"{job}.yaml")
    assert about and about.splitlines()[0].endswith(".")
    assert about in job_help(job)


def test_every_group_and_option_is_in_the_overview() -> None:
    text = overview()
    for group, options in groups().items():
        assert group in text
        assert all(option in text for option in options)


def test_recipes_are_packed_with_the_command() -> None:
    assert (Path(CONF) / "__main__.py").is_file()
