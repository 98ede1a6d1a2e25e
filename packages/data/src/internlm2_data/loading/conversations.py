r"""Conversations of others as ChatML messages ``{"role", "content"}``, with ``name`` and ``tool_call`` for tools.

==========  ====================================================================================================
`messages`  ``messages``: ``role`` and ``content`` as OpenAI writes them (text, or parts of text), ``tool_calls`` and
            role ``tool`` included; our own lines are of this format too
`sharegpt`  ``conversations``: ``from`` (human, gpt, function_call, observation, system) and ``value``
`alpaca`    ``instruction``, ``input``, ``output``; optionally ``history``, a list of (asked, answered)
`chatml`    ``text``: turns between ``<|im_start|>`` and ``<|im_end|>``
==========  ====================================================================================================

Which one a record is shows in its keys, so that files of several formats may be listed together. Beside the turns,
``system`` is put before them and ``tools`` after the system prompt. What a turn cannot say in ChatML is refused, never
left out. Kinds of files are those of `internlm2_data.loading.records`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_data.loading.records import placed_records

Messages = list[dict[str, Any]]
Record = Mapping[str, Any]
Paths = str | Path | Sequence[str | Path]
"""A file or folder, or several."""

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
    "environment": "environment",
}
PLUGIN = "<|plugin|>"
"""Functions with JSON arguments, as opposed to code for the interpreter (report section 4.4)."""

TURN = re.compile(r"<\|im_start\|>(\w+)(?: name=(<\|\w+\|>))?\n(.*?)<\|im_end\|>", re.DOTALL)


def listed(paths: Paths) -> list[Path]:
    """One path or several, as a list."""
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def read_conversations(paths: Paths) -> Iterator[tuple[str, Messages]]:
    """The messages of every record of some files, each after its place (file and line).

    Args:
        paths: a file or folder, or several, of one format or several.

    Raises:
        FileNotFoundError: for a path that is not there.
        ValueError: for a record that is of no format, with its place.
    """
    for path in listed(paths):
        for place, record in placed_records(path):
            try:
                messages = messages_of(record)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"{place} is no conversation ({fault(error)})") from None
            yield place, messages


def fault(error: Exception) -> str:
    """What an exception says of a record."""
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def messages_of(record: Record) -> Messages:
    """The messages of one record, whichever format it is of.

    Raises:
        KeyError: a turn lacks a part.
        ValueError: no format fits, nobody says anything, or what is said is no text.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"it is a {type(record).__name__}, not an object")
    parse = next((FORMATS[key] for key in FORMATS if record.get(key) is not None), None)
    if parse is None:
        raise ValueError(f"its keys are {sorted(record)}: give it one of {', '.join(FORMATS)}")
    turns = parse(record)
    if not turns:
        raise ValueError("no turns")
    messages = opened(record, turns)
    check_text(messages)
    return messages


def opened(record: Record, turns: Messages) -> Messages:
    """The turns after the record's own system prompt, and its tools after all that the system says first."""
    if record.get("system"):
        turns = [{"role": "system", "content": record["system"]}, *turns]
    tools = record.get("tools")
    if not tools or tools == "[]":
        return turns
    words = tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
    first = next((number for number, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
    return [*turns[:first], {"role": "system", "name": PLUGIN, "content": words}, *turns[first:]]


def check_text(messages: Messages) -> None:
    """Raise ValueError naming the first turn whose words are no text."""
    for number, turn in enumerate(messages, 1):
        call = turn.get("tool_call")
        for what, words in (("content", turn["content"]), ("call", call["content"] if call else "")):
            if not isinstance(words, str):
                raise ValueError(f"the {what} of turn {number} ({turn['role']}) is {words!r:.40}, not text")


def role_of(name: str) -> str:
    """The ChatML role of somebody's name for it.

    Raises:
        ValueError: an unknown one.
    """
    if name not in ROLES:
        raise ValueError(f"role {name!r} is unknown: rename it to system, user, assistant or environment")
    return ROLES[name]


def openai(record: Record) -> Messages:
    """Messages with ``role`` and ``content``."""
    return [openai_turn(message) for message in record["messages"]]


def openai_turn(message: Record) -> dict[str, Any]:
    """One turn; our own fields ``name`` and ``tool_call`` pass. Only a turn that calls may leave its content out."""
    if message["role"] in ("tool", "function"):
        return {"role": "environment", "name": PLUGIN, "content": joined(message["content"])}
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    calls += [message["function_call"]] if message.get("function_call") else []
    turn = {"role": role_of(message["role"]), "content": joined(message.get("content"))}
    turn |= {key: message[key] for key in ("name", "tool_call") if message.get(key)}
    if calls:
        parsed = [with_arguments(call) for call in calls]
        turn["tool_call"] = plugin_call(parsed if len(parsed) > 1 else parsed[0])
    if turn["content"] is None and "tool_call" in turn:
        turn["content"] = ""
    return turn


def joined(content: Any) -> Any:
    """The words of a turn whose content comes in parts; anything else as it is.

    Raises:
        ValueError: a part is no text.
    """
    if not isinstance(content, list):
        return content
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise ValueError(f"a part of its content is of type {kind!r}: only text can be trained on")
    return "".join(part["text"] for part in content)


def with_arguments(call: Record) -> dict[str, Any]:
    """A called function whose arguments are an object, as ChatML spells them, and not JSON inside of JSON."""
    arguments = call.get("arguments")
    if not isinstance(arguments, str):
        return dict(call)
    try:
        return {**call, "arguments": json.loads(arguments)}
    except ValueError:
        return dict(call)


def sharegpt(record: Record) -> Messages:
    """Turns with ``from`` and ``value``; a function call ends the assistant's turn before it, or is one by itself."""
    messages: Messages = []
    for turn in record["conversations"]:
        speaker, words = turn["from"], turn["value"]
        if speaker == "observation":
            messages.append({"role": "environment", "name": PLUGIN, "content": words})
        elif speaker == "function_call":
            if not messages or messages[-1]["role"] != "assistant" or "tool_call" in messages[-1]:
                messages.append({"role": "assistant", "content": ""})
            messages[-1]["tool_call"] = {"tool": PLUGIN, "content": words}
        else:
            messages.append({"role": role_of(speaker), "content": words})
    return messages


def plugin_call(call: Any) -> dict[str, str]:
    """A call of functions as ChatML writes it."""
    return {"tool": PLUGIN, "content": json.dumps(call, ensure_ascii=False)}


def alpaca(record: Record) -> Messages:
    """An instruction, perhaps with an input, and what was answered."""
    messages: Messages = []
    for asked, answered in record.get("history") or ():
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    asked = "\n".join(part for part in (record["instruction"], record.get("input")) if part)
    return [*messages, {"role": "user", "content": asked}, {"role": "assistant", "content": record["output"]}]


def chatml(record: Record) -> Messages:
    """Text with its turns marked; what stands outside of turns is refused."""
    text = record["text"]
    if rest := TURN.sub("", text).strip():
        raise ValueError(f"{rest[:40]!r} stands outside of <|im_start|> and <|im_end|>")
    turns = [{"role": role_of(role), "name": name, "content": words} for role, name, words in TURN.findall(text)]
    return [turn if turn["name"] else {key: turn[key] for key in ("role", "content")} for turn in turns]


FORMATS: dict[str, Callable[[Record], Messages]] = {
    "messages": openai,
    "conversations": sharegpt,
    "instruction": alpaca,
    "text": chatml,
}
"""Formats by the key that shows them."""
