"""What was typed, read: the job, Hydra's options, and overrides in the grammar that Hydra wants."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from internlm2_conf.recipes import Recipes

TEXTS = ("prompt", "system")
"""Keys whose values are plain text: ``prompt="12 + 7 = ?"``."""

OPEN = ("validation", "callbacks.samples.prompts", "stages.ppo", "stages.reward", "evaluate", "tasks")
"""Mappings in which people name the keys: ``validation.en=FILE``."""

PARTS = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?:[^\[\]{},'"]|(?<=\w)')+|.""", re.S)
"""Of a list or mapping: texts in quotes, what stands between brackets and commas, and these."""

SPECIAL, ESCAPED = r"([\\()\[\]{}:=, \t'\"])", r"\\\1"
"""Characters of keys in Hydra's grammar, and how they are written."""

NAMES = {"-cn": "--config-name", "-cd": "--config-dir", "-c": "--cfg", "-cp": "--config-path", "-p": "--package"}
"""Options of Hydra that take a value."""

SHOW = {"--cfg", "--info", "-i", "--shell-completion", "-sc", "--hydra-help"}
"""Options with which no job runs."""


@dataclass(frozen=True)
class Asked:
    """A command that was typed.

    Args:
        job: Name of the job, None where there is none.
        words: Overrides, in Hydra's grammar.
        options: Options of Hydra.
        recipes: Where jobs are looked for.
    """

    job: str | None
    words: Sequence[str] = ()
    options: Sequence[str] = ()
    recipes: Recipes = field(default_factory=Recipes)

    @property
    def argv(self) -> list[str]:
        """The arguments for Hydra."""
        options = list(self.options)
        if "--cfg=job" in options and "--resolve" not in options:
            options.append("--resolve")
        submits = any(word.startswith("hydra/launcher=") for word in self.words)
        shows = any(option.partition("=")[0] in SHOW for option in options)
        if submits and not {"-m", "--multirun"} & set(options) and not shows:
            # Hydra's launchers start the jobs of a sweep: a single run is a sweep of one.
            options.append("-m")
        return [*([f"--config-name={self.job}"] if self.job else []), *options, *self.words]

    @property
    def wants_help(self) -> bool:
        """Whether help is asked for."""
        return bool({"-h", "--help"} & set(self.options))


def read(words: Sequence[str]) -> Asked:
    """Tell job, options and overrides apart, in whatever order they were typed."""
    job, folder = None, None
    options, overrides, waiting = list[str](), list[str](), list(words)
    while waiting:
        word = waiting.pop(0)
        if word in NAMES or word in NAMES.values():
            word = f"{NAMES.get(word, word)}={waiting.pop(0) if waiting else ''}"
        elif word in ("--info", "-i") and waiting and "=" not in waiting[0]:
            word = f"--info={waiting.pop(0)}"
        name, _, value = word.partition("=")
        if name == "--config-name":
            job = value
        elif word.startswith("-"):
            options.append(word)
            folder = value if name == "--config-dir" else folder
        elif job is None and "=" not in word and not {"-sc", "--shell-completion"} & set(options):
            job = word
        else:
            overrides.append(as_new(as_text(word)))
    return Asked(job, overrides, options, Recipes(folder))


def as_text(word: str) -> str:
    """An override whose value people write as they speak, in the quotes that Hydra's grammar wants around it."""
    key, _, value = word.partition("=")
    if not value or (value[0] in "'\"" if key in TEXTS else is_readable(word)):
        return word
    if value[0] + value[-1] in ("[]", "{}") and key not in TEXTS:
        # What cannot be mended part by part is for Hydra to refuse. As a text it would be lost.
        return f"{key}={mended(value)}"
    return f"{key}={quoted(value)}"


def mended(value: str) -> str:
    """A list or mapping with quotes around the texts that Hydra's grammar wants some around."""
    inside, found = "", ""
    for part in PARTS.findall(value):
        key, colon, text = part.partition(":") if inside.endswith("{") and part[0] not in "'\"" else ("", "", part)
        found += key + colon + readable(text)
        inside = inside + part if part in "[{" else inside[:-1] if part in "]}" else inside
    return found


def readable(text: str) -> str:
    """A part of a list or mapping, in quotes if Hydra cannot read it without."""
    bare = text.strip()
    return text if not bare or bare in "[]{}," or is_readable(f"key={bare}") else text.replace(bare, quoted(bare))


def is_readable(word: str) -> bool:
    """Whether Hydra can read an override."""
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def quoted(value: str) -> str:
    """A text between the quotes of Hydra's grammar, in which nothing refers to a key."""
    escaped = value.replace("\\'", "\\\\'").replace("'", "\\'").replace("${", "\\${")
    return f"'{escaped}'"


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
    text = str(value)
    is_other = re.fullmatch(r"true|false|null|inf|nan|[\d._]+(e[+-]?\d+)?", text, re.I | re.A)
    return text if re.fullmatch(r"[\w./][\w./-]*", text, re.A) and not is_other else quoted(text)


def as_new(word: str) -> str:
    """An override of a key that may be new, as Hydra wants it marked."""
    key = word.partition("=")[0]
    return f"++{word}" if any(key == name or key.startswith(f"{name}.") for name in OPEN) else word
