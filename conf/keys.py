"""Keys of a composed configuration: where they are, what they refer to, and which of them an error speaks of."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

REFERENCE = re.compile(r"\$\{(\.*)([\w.\-/@]+)\}")
GIVEN = re.compile(r"(?<![\w.])([A-Za-z_]\w*(?:\.\w+)*)=([^\s=]+)")
"""``name=value`` in a sentence."""


def dotted(node: Any, prefix: str = "") -> list[str]:
    """Every key of nested mappings.

    Args:
        node: The mappings.
        prefix: What they are below, with a dot at its end.

    Returns:
        Keys as ``a.b.c``.
    """
    if not isinstance(node, dict):
        return []
    own = [f"{prefix}{key}" for key in node]
    return own + [name for key, value in node.items() for name in dotted(value, f"{prefix}{key}.")]


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Whatever in nested mappings is not a mapping, or is an empty one.

    Args:
        node: The mappings.
        prefix: What they are below.

    Yields:
        The key as ``a.b.c``, and the value.
    """
    if not isinstance(node, dict) or not node:
        yield prefix, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


def texts(node: Any) -> Iterator[str]:
    """Every text in nested mappings and lists."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, (list, dict)):
        for value in node.values() if isinstance(node, dict) else node:
            yield from texts(value)


def referred(key: str, dots: str, name: str) -> str:
    """The whole key of a reference.

    Args:
        key: The key whose value it is.
        dots: Those before the name: none where it is counted from the root, one where it is beside ``key``.
        name: What follows them.

    Returns:
        ``a.b.c``.
    """
    above = key.split(".")[: -len(dots)] if dots else []
    return ".".join([*above, name])


def typed(key: str, values: Mapping[str, Any]) -> str:
    """The key that a person sets to change another, which may only refer to it.

    Args:
        key: Any key.
        values: Leaves of the configuration.

    Returns:
        The key at the end of the references.
    """
    value = values.get(key)
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return typed(referred(key, match[1], match[2]), values) if match else key


def direct(word: str, node: Any) -> str:
    """An override of the key that is really set: what is below a reference is set where the reference leads.

    Args:
        word: ``module.optimizer.lr=1``, where ``module.optimizer`` is ``${optimizer}``.
        node: The configuration, references unresolved.

    Returns:
        ``optimizer.lr=1``.
    """
    key, sign, value = word.partition("=")
    parts, at = key.lstrip("+~").split("."), node
    for number, part in enumerate(parts[:-1], 1):
        at = at.get(part) if isinstance(at, Mapping) else None
        match = REFERENCE.fullmatch(at) if isinstance(at, str) else None
        if match:
            above = referred(".".join(parts[:number]), match[1], match[2])
            marks = key[: len(key) - len(key.lstrip("+~"))]
            return direct(f"{marks}{'.'.join([above, *parts[number:]])}{sign}{value}", node)
    return word


def advice(message: str, cfg: DictConfig, is_about_files: bool, stage: str = "") -> str:
    """What to type so that an error goes away, where the configuration of the job tells.

    Args:
        message: The error. It names arguments as ``name=value`` and has paths as they were given.
        cfg: The composed configuration.
        is_about_files: Whether a path in the message is what is wrong.
        stage: Of a chain, where the error was raised. Keys of the other stages are not meant.

    Returns:
        A sentence with a blank before it, or nothing.
    """
    values = dict(leaves(OmegaConf.to_container(cfg)))
    own = [key for key in values if is_below(key, f"stages.{stage}")] if stage else list(values)
    found = {}
    for name, value in GIVEN.findall(message):
        key = key_of_argument(name, value.rstrip(".,;:)'\""), values, own)
        if key is not None and name not in values and key not in message:
            found[key] = name
    if found:
        return f" Change {' or '.join(f'{name} with {key}=...' for key, name in list(found.items())[:3])}."
    named = [key for key in keys_of_path(message, values) if f"{key}=" not in message] if is_about_files else []
    kind = "FILE" if any(Path(text).suffix for key in named for text in texts(values[key])) else "FOLDER"
    return f" Set {' or '.join(f'{key}={kind}' for key in named)}." if named else ""


def key_of_argument(name: str, value: str, values: Mapping[str, Any], among: Iterable[str]) -> str | None:
    """The one key that sets an argument.

    Args:
        name: Name of the argument.
        value: What it was given, as text. Of several keys those with this value count.
        values: Leaves of the configuration.
        among: The keys that may be meant.

    Returns:
        The key as it is typed, or None where there are none or several.
    """
    found = {typed(key, values) for key in among if key.rpartition(".")[2] == name.rpartition(".")[2]}
    found = {key for key in found if key in values and not key.startswith(("hydra.", "paths."))}
    if len(found) > 1:
        found = {key for key in found if str(values[key]) == value}
    return found.pop() if len(found) == 1 else None


def keys_of_path(message: str, values: Mapping[str, Any]) -> list[str]:
    """The keys whose values are the longest path that a message names, or a folder above it.

    Args:
        message: The error.
        values: Leaves of the configuration.

    Returns:
        Keys as they are typed, what a job writes left out.
    """
    found: dict[str, list[str]] = {}
    for key, value in values.items():
        if key.startswith(("job.", "hydra.", "paths.")) or key in ("output", "name"):
            continue
        for text in texts(value):
            if "${" not in text and re.search(rf"(?<![\w./-]){re.escape(text)}(?![\w-]|\.\w)", message):
                found.setdefault(text.rstrip("/"), []).append(key)
    return list(dict.fromkeys(found[max(found, key=len)])) if found else []


def references(key: str, node: Any) -> Iterator[tuple[str, str]]:
    """Every reference in nested mappings and lists.

    Args:
        key: What they are below.
        node: The mappings.

    Yields:
        The key that it is in, and the whole key that it names.
    """
    if isinstance(node, Mapping):
        for part, value in node.items():
            yield from references(f"{key}.{part}" if key else str(part), value)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from references(f"{key}.{number}", value)
    elif isinstance(node, str):
        for dots, name in REFERENCE.findall(node):
            yield key, referred(key, dots, name)
        for name in re.findall(r"\$\{oc\.(?:dict\.values|dict\.keys|select):([\w.\-]+)", node):
            yield key, name


def is_below(key: str, root: str) -> bool:
    """Whether a key is another, or below it.

    Args:
        key: The key.
        root: The other.
    """
    return key == root or key.startswith(f"{root}.")
