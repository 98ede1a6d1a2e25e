"""Exceptions as one sentence: what was given, what is allowed, what to type instead."""

import os
import re
import sys
from collections.abc import Callable
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, InstantiationException, MissingConfigException
from internlm2_conf.help import groups, nearest
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationKeyError


def in_one_sentence(function: Callable[[], Any], job: str | None) -> None:
    """Call a function; print what a person can mend as one sentence and leave with exit code 1."""
    try:
        function()
    except Exception as error:
        if os.environ.get("INTERNLM2_TRACEBACK") == "1":
            raise
        sys.exit(f"internlm2 {job or ''}: {sentence(error, job)} (INTERNLM2_TRACEBACK=1 shows the traceback.)")


def sentence(error: BaseException, job: str | None = None) -> str:
    """One sentence for an exception, taken from the cause that says most; ``job`` tells which keys there are."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return sentence(error.__cause__, job)
    if isinstance(error, MissingConfigException):
        return missing_option(str(error))
    if isinstance(error, ConfigCompositionException):
        return unknown_key(error, job)
    if isinstance(error, InterpolationKeyError):
        return str(error).splitlines()[0]
    if isinstance(error, (ValueError, FileNotFoundError, ModuleNotFoundError)):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def missing_option(message: str) -> str:
    """``Could not find 'model/tinyy' ... Available options in 'model': ...`` in one line."""
    wanted = re.search(r"Could not find '([^']+)'", message)
    options = re.search(r"Available options in '([^']+)':\s*(.*?)\s*(?:Config search path|$)", message, re.S)
    if not wanted or not options:
        return " ".join(message.split())
    group, names = options.group(1), ", ".join(options.group(2).split())
    return f"there is no {wanted.group(1)}; {group}= may be {names}."


def unknown_key(error: BaseException, job: str | None) -> str:
    """What in an override cannot be, with the keys that stand beside it."""
    cause = error.__cause__
    override = re.search(r"Could not override '([^']+)'", str(error))
    key = re.search(r"Key '([^']+)' is not in struct", f"{error} {cause}")
    if override and (key or isinstance(cause, (ConfigAttributeError, ConfigKeyError))):
        name = override.group(1)
        keys = known_keys(job)
        more = f", +{name}=... adds it if its class takes it" if f"{name.rpartition('.')[0]}._target_" in keys else ""
        return f"there is no key {name!r}{nearest(name, keys)}; `internlm2 {job} --cfg job` shows every key{more}."
    group = re.search(r"Could not override '([^']+)'\. No match in the defaults list", str(error))
    if group:
        name = group.group(1)
        return f"{name!r} is no group of this job{nearest(name, groups())}; `internlm2 {job} --help` shows its groups."
    return " ".join(str(error).split())


def known_keys(job: str | None) -> list[str]:
    """Every key of a job as it is without overrides, and the groups."""
    if job is None:
        return []
    GlobalHydra.instance().clear()
    with initialize_config_module("internlm2_conf", version_base="1.3"):
        container = OmegaConf.to_container(compose(job))
    return [*groups(), *dotted(container)]


def dotted(node: Any, prefix: str = "") -> list[str]:
    """``a.b.c`` for every key of nested mappings."""
    if not isinstance(node, dict):
        return []
    own = [f"{prefix}{key}" for key in node]
    return own + [name for key, value in node.items() for name in dotted(value, f"{prefix}{key}.")]
