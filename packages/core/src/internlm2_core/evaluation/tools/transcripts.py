"""Reference transcripts of the use of tools, in the manner of T-Eval (Chen et al. 2024).

A record is one place in a transcript: what was said so far, and what should be said next.

==============  ==================================================================================================
key             holds
==============  ==================================================================================================
``id``          a name
``language``    ``en``, ``zh``, ...
``abilities``   which of `ABILITIES` the reply shows. Each is scored from the same reply
``format``      ``json`` or ``text``: how the prompt asks for the reply
``messages``    the turns before the reply, in any form that `internlm2_records` reads. No reference answer among them
``reference``   ``thought``, ``name`` and ``args`` of the next call; ``plan``, a list of ``name`` and ``args``; or
                ``review``, true or false (json) or one letter (text)
``template``    how ``thought``, ``name`` and ``args`` are called (json), or a text with ``{thought}``, ``{name}`` and
                ``{args}`` (text). For ``instruct``, and optional in json
``names``       names of the tools, for plans and retrieval in text
==============  ==================================================================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from internlm2_records import Message, Record, conversation_of

Ability = Literal["instruct", "plan", "reason", "retrieve", "understand", "review"]
ABILITIES = get_args(Ability)
NEEDS = {
    "instruct": ("name", "args"), "plan": ("plan",), "reason": ("thought",), "retrieve": ("name",),
    "understand": ("args",), "review": ("review",),
}  # fmt: skip
"""What the reference of each ability must hold."""
KEYS = {"thought": "thought", "name": "name", "args": "args"}


@dataclass(frozen=True)
class Place:
    """A place in a transcript.

    Attributes:
        id: Names it.
        language: Its group in the figures.
        abilities: What the reply shows.
        format: ``json`` or ``text``.
        messages: The turns before the reply.
        reference: What should be said.
        template: How the parts of a call are called, or the text around them.
        names: Names of the tools.
    """

    id: str
    language: str
    abilities: tuple[str, ...]
    format: str
    messages: Sequence[Message]
    reference: Mapping[str, Any]
    template: Any
    names: tuple[str, ...]


def place_of(record: Record) -> Place:
    """A record of the layout above.

    Raises:
        KeyError: If a part is missing.
        ValueError: If a part cannot be used.
    """
    place = Place(
        id=str(record["id"]),
        language=record["language"],
        abilities=tuple(record["abilities"]),
        format=record["format"],
        messages=conversation_of(record),
        reference=record["reference"],
        template=record.get("template", KEYS),
        names=tuple(record.get("names", ())),
    )
    _check(place)
    return place


def _check(place: Place) -> None:
    if not place.abilities or not set(place.abilities) <= set(ABILITIES):
        raise ValueError(f"abilities={list(place.abilities)} must be some of {', '.join(ABILITIES)}.")
    if place.format not in ("json", "text"):
        raise ValueError(f"format={place.format!r} must be json or text.")
    needed = {key for ability in place.abilities for key in NEEDS[ability]}
    if missing := sorted(needed - place.reference.keys()):
        raise ValueError(f"reference={dict(place.reference)} lacks {', '.join(missing)}.")
    if place.format == "text":
        if "instruct" in place.abilities and not _is_text_template(place.template):
            raise ValueError(f"template={place.template!r} must be a text with {{thought}}, {{name}} and {{args}}.")
        if "plan" in place.abilities and not place.names:
            raise ValueError("names must be given, since plans in text are read by the names of tools.")
    elif set(place.template) != set(KEYS):
        raise ValueError(f"template={place.template!r} must say how thought, name and args are called.")


def _is_text_template(template: Any) -> bool:
    return isinstance(template, str) and all(template.count(f"{{{key}}}") == 1 for key in KEYS)
