"""Parts of an earlier run, made as the run made them."""

import json
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from internlm2_conf.continuing import RECORD
from omegaconf import DictConfig, OmegaConf


def part_of(run: str, key: str) -> Any:
    """A node of an earlier run's configuration, called.

    Args:
        run: Folder of a run that can be resumed, which holds its settings.
        key: Dotted key of the node.

    Raises:
        FileNotFoundError: If the folder holds no settings.
        ValueError: If they have no such node.
    """
    settings = settings_in(run)
    node = OmegaConf.select(settings, key)
    if node is None:
        raise ValueError(f"run={run} has no {key} in its {RECORD}: it must be a run of a job that trains.")
    return instantiate(node)


def settings_in(run: str) -> DictConfig:
    """The settings that a run began with, references unresolved.

    Args:
        run: Its folder.

    Raises:
        FileNotFoundError: If the folder holds none.
    """
    record = Path(run) / RECORD
    if not record.is_file():
        raise FileNotFoundError(f"run={run} must be the folder of a run of a job that trains: it holds no {RECORD}.")
    settings = OmegaConf.create()
    for key, value in json.loads(record.read_text(encoding="utf-8"))["settings"].items():
        OmegaConf.update(settings, key, value, force_add=True)
    return settings
