"""Turns as others write them, read into ours, and replies: what is said or called at the end of a conversation.

Read are our own messages, OpenAI's (``role`` and ``content``, ``tool_calls``, parts of text, roles tool and developer)
and ShareGPT's (``from`` and ``value``, function_call and observation). Conversations for SFT are read by the same rules
in internlm2_data, which this package may not import.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from internlm2_core.text.chat import TOOLS, Message, ToolCall

Reply = str | Message
"""What the assistant says: a text, or a message where it calls a tool."""

PLUGIN = TOOLS[0]
RESULTS = ("tool", "function", "observation")
"""Roles of others for what a tool gives back."""

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "function_call": "assistant",
    "environment": "environment",
    **dict.fromkeys(RESULTS, "environment"),
}


def turns_of(value: object, speaker: str = "user") -> list[Message]:
    """Turns of a text, a message or a list of messages.

    Args:
        value: What is read.
        speaker: Role of a bare text.

    Raises:
        ValueError: If it is none of these, or a message is of no known form.
    """
    if isinstance(value, str):
        return [{"role": speaker, "content": value}]
    if not isinstance(value, (Mapping, Sequence)):
        raise ValueError(f"{shown(value)} is neither a text nor a list of messages.")
    turns: list[Message] = []
    for item in [value] if isinstance(value, Mapping) else value:
        turn = turn_of(item)
        last = turns[-1] if turns else None
        if item.get("from") == "function_call" and last and last["role"] == "assistant" and "tool_call" not in last:
            last["tool_call"] = turn["tool_call"]  # ShareGPT writes a turn's words and its call apart.
        else:
            turns.append(turn)
    return turns


def turn_of(message: object) -> Message:
    """One message.

    Raises:
        ValueError: If it is no message, its role, name or tool is unknown, or it holds anything but text.
    """
    if not isinstance(message, Mapping):
        raise ValueError(f"{shown(message)} is no message; write {{'role': ..., 'content': ...}}.")
    speaker = message.get("role") or message.get("from")
    if speaker not in ROLES:
        raise ValueError(f"a message has role {speaker!r}, which is none of {', '.join(ROLES)}.")
    content = message.get("content")
    content = message.get("value") if content is None else content
    if speaker == "function_call":
        return {"role": "assistant", "content": "", "tool_call": {"tool": PLUGIN, "content": _text(content)}}
    call = _call(message)
    turn: Message = {"role": ROLES[speaker], "content": "" if content is None and call else _text(content)}
    if speaker in RESULTS:
        turn["name"] = PLUGIN
    elif message.get("name"):
        turn["name"] = _tool(message["name"])
    if call:
        turn["tool_call"] = call
    return turn


def reply_of(value: object) -> Reply:
    """A reply: a text, an assistant's message, or a list of one; a message without a call becomes its text.

    Raises:
        ValueError: If it is none of these.
    """
    turns = turns_of(value, "assistant")
    if [turn["role"] for turn in turns] != ["assistant"] or "name" in turns[0]:
        raise ValueError(f"{shown(value)} is no reply; a reply is a text or one message of the assistant.")
    return turns[0] if "tool_call" in turns[0] else turns[0]["content"]


def as_turn(reply: Reply) -> Message:
    """A reply as the turn that it is."""
    return {"role": "assistant", "content": reply} if isinstance(reply, str) else reply


def reply_key(reply: Reply) -> tuple[str, ...]:
    """What tells replies apart: words and call without the blanks around them; empty where there are neither."""
    turn = as_turn(reply)
    call = turn.get("tool_call")
    words = turn["content"].strip()
    return (words, call["tool"], call["content"].strip()) if call else (words,) if words else ()


def turns_key(turns: Sequence[Message]) -> tuple[tuple[str, ...], ...]:
    """What tells prompts apart."""
    return tuple((turn["role"], turn.get("name", ""), *reply_key(turn)) for turn in turns)


def with_tools(record: Mapping[str, Any], turns: Sequence[Message]) -> list[Message]:
    """Turns behind the ``system`` prompt beside them, with ``tools`` after all that the system says first."""
    opened: list[Message] = [*turns]
    if record.get("system"):
        opened.insert(0, {"role": "system", "content": _text(record["system"])})
    tools = record.get("tools")
    if tools and tools != "[]":
        listed = tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
        place = next((number for number, turn in enumerate(opened) if turn["role"] != "system"), len(opened))
        opened.insert(place, {"role": "system", "name": PLUGIN, "content": listed})
    return opened


def _call(message: Mapping[str, Any]) -> ToolCall | None:
    """The call of a message: ours, or OpenAI's ``tool_calls``."""
    if own := message.get("tool_call"):
        if not isinstance(own, Mapping) or not isinstance(own.get("content"), str):
            raise ValueError(f"tool_call is {shown(own)}; write {{'tool': '{PLUGIN}', 'content': ...}}.")
        return {"tool": _tool(own.get("tool")), "content": own["content"]}
    calls = message.get("tool_calls") or ()
    functions: list[Any] = [call.get("function") if isinstance(call, Mapping) else None for call in calls]
    functions += [message["function_call"]] if message.get("function_call") else []
    if not all(isinstance(function, Mapping) for function in functions):
        raise ValueError(f"tool_calls is {shown(calls)}; write [{{'function': {{'name': ..., 'arguments': ...}}}}].")
    if not functions:
        return None
    spelt = [_with_arguments(function) for function in functions]
    return {"tool": PLUGIN, "content": json.dumps(spelt if len(spelt) > 1 else spelt[0], ensure_ascii=False)}


def _with_arguments(function: Mapping[str, Any]) -> dict[str, Any]:
    """A function whose arguments are an object, and not JSON inside of JSON as OpenAI writes them."""
    try:
        return {**function, "arguments": json.loads(function["arguments"])}
    except (KeyError, TypeError, ValueError):
        return dict(function)


def _tool(name: object) -> str:
    if name not in TOOLS:
        raise ValueError(f"{name!r} names no tool; name is one of {', '.join(TOOLS)}, or left out.")
    return str(name)


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and content:
        return "".join(map(_part, content))
    raise ValueError(f"the content of a message is {shown(content)}; write a text.")


def _part(part: object) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise ValueError(f"the content of a message has the part {shown(part)}; only parts of text can be read.")


def shown(value: object) -> str:
    """A value as messages show it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
