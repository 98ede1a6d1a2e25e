"""Exceptions as one sentence: what was given, what is allowed, what to type instead.

The packages name arguments and paths. Which key sets them is found in the configuration of this call.
"""

import os
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from hydra.errors import (
    ConfigCompositionException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from internlm2_conf.asked import Asked
from internlm2_conf.help import nearest
from internlm2_conf.keys import advice, dotted, references
from internlm2_conf.kinds import words_for_numbers
from internlm2_conf.recipes import refused_key
from internlm2_conf.targets import arguments
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationKeyError

STAGE = "in the stage "
"""How the note of an exception begins that says which stage of a chain has raised it."""
INTERRUPTED = 130
"""Exit code of what was ended with Ctrl-C, as shells give it."""


class SaidError(Exception):
    """An error that is a sentence already."""


def wants_traceback() -> bool:
    """Whether a traceback is asked for."""
    return os.environ.get("INTERNLM2_TRACEBACK") == "1"


def in_one_sentence(function: Callable[[], Any], asked: Asked) -> None:
    """Print what a person can mend as one sentence and leave with exit code 1.

    Args:
        function: What is called.
        asked: The command that it is called for.
    """
    try:
        function()
    except KeyboardInterrupt:
        if wants_traceback():
            raise
        print(f"internlm2 {asked.job or ''}: interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if wants_traceback():
            raise
        leave(error, asked)


def leave(error: Exception, asked: Asked, cfg: DictConfig | None = None) -> NoReturn:
    """End the command with the sentence for an exception.

    Args:
        error: What was raised.
        asked: The command.
        cfg: The composed configuration, if it got so far.
    """
    said = sentence(error, asked, cfg)
    sys.exit(f"internlm2 {asked.job or ''}: {said} (INTERNLM2_TRACEBACK=1 shows the traceback.)")


def sentence(error: BaseException, asked: Asked, cfg: DictConfig | None = None) -> str:
    """One sentence for an exception, taken from the cause that says most.

    Args:
        error: What was raised.
        asked: The command. It tells which keys and options there are.
        cfg: The composed configuration, if it got so far.

    Returns:
        What is wrong and what to type.
    """
    if isinstance(error, InstantiationException):
        if error.__cause__ is not None and not str(error).startswith("Error locating target"):
            for note in getattr(error, "__notes__", ()):
                error.__cause__.add_note(note)
            return sentence(error.__cause__, asked, cfg)
        return unknown_target(error)
    if "Config group override must be" in str(error):
        return no_option(asked)
    if group := left_out(error, asked):
        one = f"Choose {group}=none" if "none" in asked.recipes.groups()[group] else f"Leave out one, as ~{group}.NAME"
        return f"~{group} cannot be left out as a whole, since {error.full_key} refers to it. {one}."
    if isinstance(error, InterpolationKeyError):
        return unfit_option(error, asked)
    if isinstance(error, GrammarParseError) and (said := half_a_reference(asked)):
        return said
    if isinstance(error, MissingConfigException):
        return missing_option(str(error))
    if isinstance(error, ConfigCompositionException):
        return unknown_key(error, asked)
    if isinstance(error, OverrideParseException):
        return f"{error.override} cannot be read. Write KEY=VALUE, and put a value with special characters in quotes."
    if isinstance(error, TypeError) and cfg is not None and (said := words_for_numbers(asked, cfg)):
        return said
    said = " ".join(str(error).split())
    if not isinstance(error, (SaidError, ValueError, OSError, ModuleNotFoundError, FloatingPointError)):
        return f"{type(error).__name__}: {said}"
    if cfg is None or isinstance(error, SaidError):
        return said
    stage = next((note for note in getattr(error, "__notes__", ()) if note.startswith(STAGE)), "").removeprefix(STAGE)
    return said + advice(said, cfg, is_about_files=isinstance(error, OSError), stage=stage)


def left_out(error: BaseException, asked: Asked) -> str | None:
    """The group that was left out (``~callbacks``) and that a reference needs.

    Args:
        error: What OmegaConf said.
        asked: The command.
    """
    needed = re.search(r"Key not found: '(\w+)'|Interpolation key '(\w+)", str(error))
    name = needed and (needed[1] or needed[2])
    without = [word.removeprefix("~").partition("=")[0] for word in asked.words if word.startswith("~")]
    return name if name in without and name in asked.recipes.groups() else None


def half_a_reference(asked: Asked) -> str | None:
    """A value with the sign of a reference, where Hydra resolves a second time, as in the name of a run's folder."""
    for word in asked.words:
        key, _, value = word.partition("=")
        if "\\${" in value:
            plain = value.strip("'").replace("\\", "")
            return f"{key}={plain} must not hold ${{, which begins a reference to a key."
    return None


def missing_option(message: str) -> str:
    """``Could not find 'model/tinyy' ... Available options in 'model': ...`` in one line."""
    wanted = re.search(r"Could not find '([^']+)'", message)
    options = re.search(r"Available options in '([^']+)':\s*(.*?)\s*(?:Config search path|$)", message, re.S)
    if not wanted or not options:
        return " ".join(message.split())
    group, names = options.group(1), ", ".join(options.group(2).split())
    return f"there is no {wanted.group(1)}. {group}= may be {names}."


def unknown_target(error: InstantiationException) -> str:
    """``Error locating target 'mine.Loss'`` with where it is looked for."""
    target = re.search(r"'([^']+)'", str(error))
    key = re.search(r"full_key: (\S+)", str(error))
    cause = error.__cause__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    return (
        f"{key[1].removeprefix('job.') + '.' if key else ''}_target_={target[1] if target else '?'} cannot be imported "
        f"({' '.join(str(cause or 'it is not there').split())}). Modules are found in the current folder, in "
        "PYTHONPATH and among what is installed."
    )


def unknown_key(error: BaseException, asked: Asked) -> str:
    """What in an override cannot be, with the keys that are beside it.

    Args:
        error: What Hydra said.
        asked: The command.
    """
    name, job, recipes = refused_key(error), asked.job, asked.recipes
    if not name or job is None:
        return " ".join(str(error).split())
    value = next((word.partition("=")[2] for word in asked.words if word.startswith(f"{name}=")), "")
    choice = other_choice(name, value, asked)
    if choice:
        return choice
    if "No match in the defaults list" in str(error):
        likely = nearest(name, recipes.groups())
        return f"{name!r} is not a group of this job{likely}. `internlm2 {job} --help` shows its groups."
    base = recipes.compose(job)
    node = name.rpartition(".")[0]
    target = OmegaConf.select(base, f"{node or 'job'}._target_")
    taken = (arguments(target) or {}) if target else {}
    beside = [f"{node}.{argument}" if node else argument for argument in taken]
    keys = [*recipes.groups(), *dotted(OmegaConf.to_container(base)), *beside]
    more = f" and --help its arguments, +{name}=... adds any other" if beside else ""
    return f"there is no key {name!r}{nearest(name, keys)}. `internlm2 {job} --cfg job` shows every key{more}."


def no_option(asked: Asked) -> str:
    """A group was given something that is not the name of an option: null, a number, a mapping."""
    groups = asked.recipes.groups()
    for word in asked.words:
        name, _, value = word.partition("=")
        options = groups.get(name.partition("@")[0])
        if options and value not in options:
            return f"{word}: {name} must be one of {', '.join(options)}."
    return "a group must be given the name of one of its options."


def other_choice(name: str, value: str, asked: Asked) -> str | None:
    """A sentence about a key or group that the job has with other options of its groups.

    Args:
        name: The key or group.
        value: What it was given.
        asked: The command.

    Returns:
        The sentence, or None where no option brings the key.
    """
    assert asked.job is not None
    first, *_, last = name.split(".") if "." in name else (name, value)
    if first in OmegaConf.to_container(asked.recipes.compose(asked.job), resolve=False):
        return None
    for group, options in asked.recipes.groups().items():
        brings = [option for option in options if re.search(rf"\b{first}\b", asked.recipes.text(group, option))]
        # The option that is named like the key says most.
        for option in sorted(brings, key=lambda option: option != last):
            chosen = choices(asked.job, asked).get(group)
            if chosen is None or chosen == option:
                continue
            cfg = asked.recipes.compose(asked.job, [f"{group}={option}"])
            if first in cfg:
                return f"{group}={chosen} has no {first}. Choose another {group} first, for example {group}={option}."
    return None


def choices(job: str, asked: Asked, words: tuple[str, ...] = ()) -> dict[str, str]:
    """Group to the option of it that a job has.

    Args:
        job: Name of the job.
        asked: The command.
        words: Overrides that count.
    """
    cfg = asked.recipes.compose(job, words, with_hydra=True)
    return {str(group): str(option) for group, option in cfg.hydra.runtime.choices.items()}


def unfit_option(error: InterpolationKeyError, asked: Asked) -> str:
    """A reference to a key that the job does not have.

    Args:
        error: What OmegaConf said.
        asked: The command.

    Returns:
        A sentence with the options of the group that do without the key.
    """
    needed = re.search(r"Interpolation key '([^']+)'", str(error))
    lacking, job = needed[1] if needed else "a key", asked.job
    fact = f"refers to {lacking}, which {job} does not have"
    if job is None:
        return f"{error.full_key} {fact}."
    composed = OmegaConf.to_container(asked.recipes.compose(job, asked.words))
    key = next((key for key, name in references("", composed) if name == lacking), error.full_key or "A value")
    words = asked.recipes.chosen(asked.words, added=True)
    chosen = choices(job, asked, tuple(words))
    groups = [group for group in chosen if key.startswith(f"{package(group)}.")]
    if not groups:
        return f"{key} {fact}. Write \\${{ where the text is meant."
    group = max(groups, key=len)
    name = group.partition("@")[0]
    fitting = [
        option
        for option in asked.recipes.groups().get(name, [])
        if is_complete(asked, [*words, f"{group}={option}"], package(group))
    ]
    instead = f" Choose {' or '.join(f'{group}={option}' for option in fitting)}." if fitting else ""
    return f"{group}={chosen[group]} does not fit {job}: {key} {fact}.{instead}"


def package(group: str) -> str:
    """Where the options of a group are put."""
    name, _, place = group.partition("@")
    return (place or name).removeprefix("_global_.").replace("/", ".")


def is_complete(asked: Asked, words: list[str], place: str) -> bool:
    """Whether a node refers to nothing that a job does not have.

    Args:
        asked: The command.
        words: Overrides that count.
        place: Key of the node.
    """
    try:
        cfg = asked.recipes.compose(asked.job or "", words)
        for key in [key for key in cfg if OmegaConf.is_missing(cfg, key)]:
            cfg[key] = "given"
        OmegaConf.to_container(OmegaConf.select(cfg, place), resolve=True)
    except InterpolationKeyError:
        return False
    return True
