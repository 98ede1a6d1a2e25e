"""What the ``_target_`` of a node takes."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hydra.utils import call, get_object
from internlm2_conf.keys import leaves
from omegaconf import DictConfig, OmegaConf, open_dict

HYDRAS = ("_target_", "_partial_", "_convert_", "_recursive_")


def arguments(target: str) -> Mapping[str, inspect.Parameter] | None:
    """Arguments that a target takes by name, or None where that cannot be told."""
    try:
        found = inspect.signature(get_object(target)).parameters
    except Exception:  # an import of somebody else's may raise anything
        return None
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in found.items() if parameter.kind in kinds}


def takes(target: str, name: str, counts_any: bool = True) -> bool:
    """Whether a target takes an argument of that name, or takes any.

    Args:
        target: Its dotted name.
        name: Name of the argument.
        counts_any: Whether it counts that a target takes any argument.

    Returns:
        The answer. False where it cannot be told.
    """
    if (known := arguments(target)) is None:
        return False
    found = inspect.signature(get_object(target)).parameters.values()
    return name in known or (counts_any and any(one.kind is inspect.Parameter.VAR_KEYWORD for one in found))


def nodes(node: Any, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with a ``_target_`` in nested mappings.

    Args:
        node: The mappings.
        prefix: What they are below.

    Yields:
        Its key and content.
    """
    if isinstance(node, dict):
        if "_target_" in node and prefix:
            yield prefix, node
        for key, value in node.items():
            yield from nodes(value, f"{prefix}.{key}" if prefix else str(key))


def leave_out(cfg: DictConfig, base: Callable[[], DictConfig], words: Sequence[str]) -> DictConfig:
    """Remove what a replaced ``_target_`` would drag along.

    In a node whose ``_target_`` is not that of the recipe any more, the recipe's arguments stay where the new target
    takes them too. The others are removed, unless they were given with it.

    Args:
        cfg: The composed configuration. It is changed.
        base: Composes the job with the same options of groups, without other overrides.
        words: The overrides.
    """
    given = {word.partition("=")[0].lstrip("+") for word in words}
    doubtful = {
        key: surplus
        for key, node in nodes(OmegaConf.to_container(cfg))
        if (
            surplus := [name for name in node if name not in HYDRAS and name not in (arguments(node["_target_"]) or {})]
        )
    }
    before = base() if doubtful else cfg
    for key, surplus in doubtful.items():
        old, new = OmegaConf.select(before, key), OmegaConf.select(cfg, key)
        if not (OmegaConf.is_dict(old) and OmegaConf.is_dict(new)) or old.get("_target_") in (None, new["_target_"]):
            continue
        raw = [OmegaConf.to_container(node) for node in (old, new)]
        dropped = [name for name in surplus if f"{key}.{name}" not in given and raw[0].get(name) == raw[1][name]]
        if dropped and arguments(new["_target_"]) is not None:
            with open_dict(cfg):
                for name in dropped:
                    del new[name]
            print(f"{key}: {new['_target_']} does not take {', '.join(dropped)}. Left out.", file=sys.stderr)
    return cfg


def call_job(cfg: DictConfig) -> Any:
    """Call the node ``job``. The configuration is resolved by it, and of no use afterwards."""
    for key, value in leaves(OmegaConf.to_container(cfg)):
        if isinstance(value, str) and "\\${" in value:
            # A call resolves references twice, so a text that has the sign for them is protected twice.
            OmegaConf.update(cfg, key, value.replace("\\${", "\\\\\\${"))
    return call(cfg.job)
