"""What a reply says, out of JSON or text."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any


def read_json(reply: str, opening: str = "", closing: str = "") -> Any:
    """The JSON, or the Python literal, of a reply. None if there is none.

    Args:
        reply: What the model said. What goes before a fence ```` ```json ```` is left out.
        opening: The first character of what is read, or nothing for all.
        closing: The last one.
    """
    if "```json" in reply:
        reply = reply.split("```json", 1)[1].strip("`")
    if opening:
        reply = reply[max(0, reply.find(opening)) :]
    if closing:
        reply = reply[: reply.rfind(closing) + 1]
    for read, text in ((ast.literal_eval, reply), (json.loads, reply), (json.loads, reply.replace("'", '"'))):
        try:
            return read(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None


def read_call(reply: str, template: Mapping[str, str]) -> dict[str, Any] | None:
    """Thought, name and arguments of a call in JSON. None if one of them is missing.

    Args:
        reply: What the model said.
        template: How they are called.
    """
    found = read_json(reply)
    if not isinstance(found, dict) or not all(key in found for key in template.values()):
        return None
    call = {key: found[name] for key, name in template.items()}
    return call | {"args": call["args"] if isinstance(call["args"], dict) else {}}


def read_templated(reply: str, template: str) -> dict[str, Any] | None:
    """Thought, name and arguments of a call in a text of a given form. None if it has another form.

    Args:
        reply: What the model said.
        template: The form, with ``{thought}``, ``{name}`` and ``{args}``.
    """
    pattern = re.sub(r"\\\{(thought|name|args)\\\}", r"(?P<\1>.*)", re.escape(template))
    match = re.search(pattern, reply, re.DOTALL)
    if match is None:
        return None
    try:
        args = ast.literal_eval(match["args"].strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        args = None
    return {
        "thought": match["thought"],
        "name": match["name"].strip(),
        "args": args if isinstance(args, dict) else {},
    }


def read_next(reply: str) -> dict[str, Any] | None:
    """Thought, name and arguments of the next call in JSON, as far as they are there. None if it is not an object."""
    found = read_json(reply, "{", "}")
    if not isinstance(found, dict):
        return None
    args = found.get("args")
    return {
        "thought": str(found.get("thought", "")),
        "name": str(found.get("name", "")),
        "args": args if isinstance(args, dict) else {},
    }


FINISH = "FinishAction"
"""The call that ends a transcript."""


def read_plan(reply: str) -> list[tuple[str, str]]:
    """Name and arguments of each step of a plan in JSON, in the order of their ids. Empty if it cannot be read."""
    found = read_json(reply, "[", "]")
    try:
        steps = [(int(step["id"]), str(step["name"]), str(step["args"])) for step in found]
    except (TypeError, KeyError, ValueError):
        return []
    return [(name, args) for _, name, args in sorted(steps, key=lambda step: step[0])]


def read_steps(reply: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Name of a tool and the whole sentence, for each sentence of a plan in text that names one.

    Args:
        reply: What the model said.
        names: Names of tools. Of several in a sentence, the first one counts.
    """
    plan = []
    for sentence in reply.replace(". ", "\n").split("\n"):
        places = [(sentence.find(name), number, name) for number, name in enumerate(names) if name in sentence]
        if places:
            plan.append((min(places)[2], sentence))
    return plan
