"""Overrides as people type them, and as Hydra's grammar wants them.

A recipe does not repeat the defaults of the classes that it calls. So a key that a recipe leaves out may still be
typed, wherever the class of its node takes that argument: ``module.micro_batch_rows=4``.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose
from hydra.utils import get_object
from internlm2_conf.help import groups
from omegaconf import DictConfig, OmegaConf

SPECIAL, ESCAPED = r"([\\()\[\]{}:=, \t'\"])", r"\\\1"

OPEN = ("validation", "callbacks.samples.prompts", "stages.ppo", "stages.reward")
"""Mappings in which people name the keys: ``validation.en=FILE``."""


def with_new_keys(job: str, words: Sequence[str]) -> list[str]:
    """Overrides of a job, those marked as new (``++``) that the recipe does not hold and its classes take.

    Hydra must be initialised.

    Args:
        job: Its name.
        words: Overrides as they were typed.
    """
    keys = [word.partition("=")[0] for word in words]
    if not any("." in key for key in keys):
        return list(words)
    options = groups()
    choices = [word for word, key in zip(words, keys, strict=True) if key.partition("@")[0].lstrip("+/~") in options]
    try:
        cfg = compose(job, choices)
    except Exception:
        # What is wrong with them is said when the job itself is composed.
        return list(words)
    return [f"++{word}" if is_new(key, cfg) else word for word, key in zip(words, keys, strict=True)]


def is_new(key: str, cfg: DictConfig) -> bool:
    """Whether a recipe does not hold a key but may be told it.

    Args:
        key: As it was typed. One with a mark (``+``, ``~``) says itself what it wants.
        cfg: The recipe, composed.
    """
    if key[:1] in ("+", "~", "-") or "@" in key:
        return False
    if any(key == name or key.startswith(f"{name}.") for name in OPEN):
        return True
    above, _, name = key.rpartition(".")
    node = OmegaConf.to_container(cfg)
    for part in above.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return isinstance(node, dict) and "_target_" in node and name not in node and takes(str(node["_target_"]), name)


def takes(target: str, name: str) -> bool:
    """Whether a function or class has a parameter of that name, or takes any.

    Args:
        target: Its dotted name.
        name: Of the parameter.
    """
    try:
        parameters = inspect.signature(get_object(target)).parameters
    except (ImportError, AttributeError, ValueError, TypeError):
        return False
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def typed(value: Any) -> str:
    """A value as Hydra's grammar reads it back."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Mapping):
        # Keys cannot be quoted there, only escaped.
        pairs = (f"{re.sub(SPECIAL, ESCAPED, str(key))}:{typed(part)}" for key, part in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(typed, value)) + "]"
    return quoted(str(value))


def quoted(text: str) -> str:
    """A text in the quotes of Hydra's grammar."""
    escaped = text.replace("\\'", "\\\\'").replace("'", "\\'")
    return f"'{escaped}'"
