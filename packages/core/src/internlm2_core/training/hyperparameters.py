"""Constructor arguments as plain values, so that ``load_from_checkpoint`` works without pickle.

A checkpoint holds names of our own and of torch's optimizers, never objects. Names of anything else are written down
too but are not imported when the checkpoint is read: they must be given again.
"""

import importlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

TRUSTED = ("internlm2_core.", "internlm2_align.", "internlm2_data.", "torch.optim.", "torch.nn.")
"""What a checkpoint may name and have imported."""


def describe(value: Any) -> Any:
    """A value as numbers, texts, lists and dicts."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {"mapping": {str(key): describe(part) for key, part in value.items()}}
    if isinstance(value, (list, tuple)):
        return [describe(part) for part in value]
    if isinstance(value, partial):
        arguments = {"args": describe(value.args), "keywords": describe(value.keywords)}
        return {"partial": describe(value.func), **arguments}
    if isinstance(value, type) or hasattr(value, "__code__"):
        return {"name": f"{value.__module__}.{value.__qualname__}"}
    if is_dataclass(value):
        keywords = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        return {"call": describe(type(value)), "keywords": describe(keywords)}
    if hasattr(value, "arguments"):
        return {"call": describe(type(value)), "keywords": describe(value.arguments())}
    if isinstance(path := getattr(value, "path", None), Path):
        return {"call": {"name": "internlm2_core.text.tokenizer.load_tokenizer"}, "keywords": describe({"path": path})}
    return {"name": f"{type(value).__module__}.{type(value).__qualname__}", "is_lost": True}


MEMORY = ("micro_batch_rows", "recompute", "recompute_every", "compile")
"""Arguments that change memory and speed, never the result."""


def changed(earlier: Mapping[str, Any], described: Mapping[str, Any]) -> list[str]:
    """Names of arguments that would have led to another result. Where files lie does not count.

    Args:
        earlier: By argument, from `describe`.
        described: Those of now.
    """
    both = earlier.keys() & described.keys() - {*MEMORY}
    return sorted(name for name in both if without_paths(earlier[name]) != without_paths(described[name]))


def without_paths(described: Any) -> Any:
    """A description without the places of files."""
    if isinstance(described, dict):
        return {key: without_paths(part) for key, part in described.items() if key != "path"}
    return [without_paths(part) for part in described] if isinstance(described, (list, tuple)) else described


def rebuild(described: Any) -> Any:
    """The value again.

    Raises:
        ValueError: If it names something that is not trusted, or could not be written down.
    """
    if isinstance(described, list):
        return tuple(map(rebuild, described))
    if not isinstance(described, dict):
        return described
    if "mapping" in described:
        return {key: rebuild(part) for key, part in described["mapping"].items()}
    if "partial" in described:
        function = rebuild(described["partial"])
        return partial(function, *rebuild(described["args"]), **rebuild(described["keywords"]))
    if "call" in described:
        return rebuild(described["call"])(**rebuild(described["keywords"]))
    return named(described["name"], described.get("is_lost", False))


def named(name: str, is_lost: bool = False) -> Any:
    """What a trusted dotted name stands for.

    Args:
        name: ``module.attribute``.
        is_lost: Whether only the name of its type was written down.

    Raises:
        ValueError: If it is not trusted, not there, defined elsewhere, or lost.
    """
    module, _, attribute = name.rpartition(".")
    if is_lost or "<" in name or not name.startswith(TRUSTED):
        raise ValueError(f"The checkpoint only names {name} and does not hold it.")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"The checkpoint names {name}, which is not there.") from error
    # A trusted module may have imported anything.
    if not f"{getattr(found, '__module__', '')}.".startswith(TRUSTED):
        raise ValueError(f"The checkpoint names {name}, which is defined elsewhere.")
    return found


def rebuilt(described: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a constructor: those given, and those described.

    Args:
        described: By argument, from `describe`.
        given: Take the place of the described ones.

    Raises:
        ValueError: If one can only be given.
    """
    arguments = dict(given)
    for name, part in described.items():
        if name not in given:
            try:
                arguments[name] = rebuild(part)
            except ValueError as error:
                raise ValueError(f"{error} Give load_from_checkpoint the argument {name}=.") from error
    return arguments
