"""Condition prompts: what tells one reward model which of several conflicting preferences to score by.

A table maps a domain to a system prompt, in one language or in several. It is put before the whole conversation for
the reward model only. Actor and critic never see it. `Unconditional` is the ablation: the same domains, no prompts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Protocol

import yaml
from internlm2_core.checkpoint.configs import CONDITIONS_FILE
from internlm2_records import Message


class ConditionTable(Protocol):
    """What the reward model needs of a table."""

    @property
    def domains(self) -> Sequence[str]:
        """Known domains, in a fixed order: a domain's index in it is its id in batches."""

    def messages(self, domain: str, language: str = "en") -> list[Message]:
        """What goes before a conversation of that domain: one system message, or none."""

    def save(self, path: Path) -> None:
        """Write the table beside a checkpoint, as YAML that `load_conditions` reads."""


class UnknownDomainError(ValueError):
    """A domain that a table does not know."""


def index_of(table: ConditionTable, domain: str) -> int:
    """The id of a domain.

    Args:
        table: The table.
        domain: A domain of it.

    Raises:
        UnknownDomainError: If the table does not know the domain.
    """
    if domain not in table.domains:
        raise UnknownDomainError(f"Domain {domain!r} has no condition prompt. Known are {', '.join(table.domains)}.")
    return list(table.domains).index(domain)


LANGUAGES = {"eng": "en", "english": "en", "zho": "zh", "chi": "zh", "cmn": "zh", "chinese": "zh", "中文": "zh"}
"""Other names of languages that the built-in table has."""


def language_code(tag: str) -> str:
    """The two-letter code of a language, however it is tagged: ``zh-CN``, ``zho_Hans``, ``Chinese``.

    Other tags lose what follows their first part.
    """
    first = re.split(r"[-_ ]", tag.strip().casefold(), maxsplit=1)[0]
    return LANGUAGES.get(first, first)


@dataclass(frozen=True)
class Conditions:
    """The table.

    Args:
        prompts: Domain -> language -> system prompt. A language that a domain lacks falls back to its first one.
    """

    prompts: Mapping[str, Mapping[str, str]]

    @property
    def domains(self) -> Sequence[str]:
        """Known domains in the table's order."""
        return tuple(self.prompts)

    def messages(self, domain: str, language: str = "en") -> list[Message]:
        """The system message of a domain.

        Raises:
            UnknownDomainError: If the table does not know the domain.
        """
        index_of(self, domain)
        texts = self.prompts[domain]
        text = texts.get(language) or texts.get(language_code(language)) or next(iter(texts.values()))
        return [{"role": "system", "content": text}]

    def save(self, path: Path) -> None:
        """Write the table as YAML."""
        content = {"domains": {domain: dict(texts) for domain, texts in self.prompts.items()}}
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")


@dataclass(frozen=True)
class Unconditional:
    """No prompts: the ablation of the report's table 19.

    Args:
        domains: Domains that metrics are still told apart by.
    """

    domains: Sequence[str]

    def messages(self, domain: str, language: str = "en") -> list[Message]:
        """Nothing, but a domain that the table does not know is refused."""
        index_of(self, domain)
        return []

    def save(self, path: Path) -> None:
        """Write the list of domains as YAML."""
        content = {"unconditional": True, "domains": list(self.domains)}
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")


BUILT_IN: Traversable = files("internlm2_align.reward").joinpath(CONDITIONS_FILE)


def load_conditions(
    file: str | Path | None = None, domains: Sequence[str] | None = None, built_in: Traversable = BUILT_IN
) -> ConditionTable:
    """Read a table.

    Args:
        file: YAML with ``domains: {name: text or {language: text}}``, and optionally ``extends: default`` to add to or
            override the built-in table. None reads the built-in table.
        domains: Keep only these, in this order. None keeps all.
        built_in: The built-in table. Other texts by domain, such as rubrics, have one of their own.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file does not hold such a table.
    """
    table = _read(None if file is None else Path(file), built_in)
    if domains is None:
        return table
    for domain in domains:
        if domain not in table.domains:
            raise ValueError(
                f"domains names {domain!r}, which has no condition prompt. Known are {', '.join(table.domains)}. Leave "
                "it out, or give a table that has it in file."
            )
    if isinstance(table, Conditions):
        return Conditions({domain: table.prompts[domain] for domain in domains})
    return Unconditional(tuple(domains))


def conditions_beside(folder: str | Path) -> ConditionTable:
    """The table that a reward model was trained with, from its folder.

    Raises:
        FileNotFoundError: If there is none: under other prompts the same weights score otherwise.
    """
    table = Path(folder) / CONDITIONS_FILE
    if not table.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {CONDITIONS_FILE}, so it is not known by which prompts it scores. Write that file "
            "(`domains: {helpful: PROMPT}`, or `{unconditional: true, domains: [helpful]}` for a model without "
            "prompts), or call RewardModel.load(folder, conditions=...)."
        )
    return load_conditions(table)


def without_conditions(file: str | Path | None = None, domains: Sequence[str] | None = None) -> Unconditional:
    """The domains of a table without its prompts.

    Args:
        file: As for `load_conditions`.
        domains: As for `load_conditions`.
    """
    return Unconditional(tuple(load_conditions(file, domains).domains))


def _read(file: Path | None, built_in: Traversable) -> ConditionTable:
    if file is not None and not file.is_file():
        raise FileNotFoundError(f"{file} does not exist. file=null takes the built-in condition table.")
    text = (file or built_in).read_text(encoding="utf-8")
    name = file or built_in.name
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not YAML: {error}.") from error
    if not isinstance(content, dict) or "domains" not in content:
        raise ValueError(f"{name} holds no `domains` table. See conditions.yaml of internlm2_align.reward.")
    return _table(name, content, built_in)


def _table(name: str | Path, content: Mapping[str, Any], built_in: Traversable) -> ConditionTable:
    entries = content["domains"]
    is_bare = bool(content.get("unconditional"))
    if not isinstance(entries, list if is_bare else dict):
        wanted = "a list of names, since it is unconditional" if is_bare else "a table of name: text"
        raise ValueError(f"domains={entries!r} of {name} must be {wanted}.")
    for domain in entries:
        # YAML reads `no` as false.
        if not isinstance(domain, str):
            raise ValueError(f"Domain {domain!r} of {name} must be a text. Put it in quotes.")
    return Unconditional(tuple(entries)) if is_bare else _prompts(name, content, built_in)


def _prompts(name: str | Path, content: Mapping[str, Any], built_in: Traversable) -> Conditions:
    entries: dict[str, object] = content["domains"]
    prompts: dict[str, Mapping[str, str]] = {domain: _texts(name, domain, entry) for domain, entry in entries.items()}
    extends = content.get("extends")
    if extends not in (None, "default"):
        raise ValueError(f"{name} extends {extends!r}. Only `extends: default`, the built-in table, can be extended.")
    if extends:
        default = _read(None, built_in)
        assert isinstance(default, Conditions)
        prompts = {**default.prompts, **prompts}
    return Conditions(prompts)


def _texts(name: str | Path, domain: str, entry: object) -> dict[str, str]:
    texts = {"en": entry} if isinstance(entry, str) else entry
    if not isinstance(texts, dict) or not texts or not all(isinstance(t, str) and t for t in texts.values()):
        raise ValueError(f"Domain {domain!r} of {name} needs a text or a table of language -> text, not {entry!r}.")
    if not all(isinstance(language, str) for language in texts):
        raise ValueError(f"Domain {domain!r} of {name} has languages {list(texts)!r}. Put them in quotes.")
    return texts
