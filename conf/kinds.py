"""Texts where the recipe has a number: overrides that were left empty, or given a word or null."""

from typing import Any

from internlm2_conf.asked import Asked
from omegaconf import DictConfig, OmegaConf


def refuse_empty(asked: Asked, cfg: DictConfig) -> None:
    """Refuse ``phase.steps=``, which would be an empty text.

    Args:
        asked: The command.
        cfg: Its composed configuration.

    Raises:
        ValueError: If the recipe has a number, a list or a mapping there.
    """
    for key, number in instead_of(asked, [key for key in given(asked) if OmegaConf.select(cfg, key) == ""]).items():
        raise ValueError(f"{key}= has no value. It must be one such as {key}={number}.")


def words_for_numbers(asked: Asked, cfg: DictConfig) -> str:
    """What was given as a text or null where the recipe has something else, as a sentence. Empty where nothing was.

    Args:
        asked: The command.
        cfg: Its composed configuration.
    """
    others = [key for key in given(asked) if isinstance(OmegaConf.select(cfg, key), str | None)]
    for key, number in instead_of(asked, others).items():
        value = OmegaConf.select(cfg, key)
        what = f"{key}=null leaves no value" if value is None else f"{key}={value} is a text"
        return f"{what}. It must be a value such as {key}={number}."
    return ""


def given(asked: Asked) -> list[str]:
    """Keys that were given a value."""
    return [word.lstrip("+").partition("=")[0] for word in asked.words if "=" in word and not word.startswith("~")]


def instead_of(asked: Asked, keys: list[str]) -> dict[str, Any]:
    """What the recipe has where keys were given a text or null, where that is neither.

    Args:
        asked: The command.
        keys: Keys of texts and nulls.
    """
    if not keys or asked.job is None:
        return {}
    base = asked.recipes.compose(asked.job, asked.recipes.chosen(asked.words, added=True))
    found = {key: OmegaConf.select(base, key) for key in keys}
    return {key: value for key, value in found.items() if value is not None and not isinstance(value, str)}
