"""Exceptions as one sentence: what was given, what is allowed, what to type instead."""

import re

from hydra.errors import ConfigCompositionException, InstantiationException, MissingConfigException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationKeyError, MissingMandatoryValue


def sentence(error: BaseException) -> str:
    """One sentence for an exception, taken from the cause that says most."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return sentence(error.__cause__)
    if isinstance(error, MissingConfigException):
        return missing_option(str(error))
    if isinstance(error, ConfigCompositionException):
        return unknown_key(error)
    if isinstance(error, MissingMandatoryValue):
        key = re.search(r"Missing mandatory value: (\S+)", str(error))
        name = key.group(1) if key else str(error).splitlines()[0]
        return f"the value {name} is missing; give it on the command line: {name}=..."
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


def unknown_key(error: BaseException) -> str:
    """What in an override cannot be, with the keys that stand beside it."""
    cause = error.__cause__
    override = re.search(r"Could not override '([^']+)'", str(error))
    key = re.search(r"Key '([^']+)' is not in struct", f"{error} {cause}")
    if override and (key or isinstance(cause, (ConfigAttributeError, ConfigKeyError))):
        return f"there is no key {override.group(1)!r}; `internlm2 JOB --cfg job` shows every key."
    group = re.search(r"Could not override '([^']+)'\. No match in the defaults list", str(error))
    if group:
        return f"{group.group(1)!r} is no group of this job; `internlm2 JOB --help` shows the groups."
    return " ".join(str(error).split())
