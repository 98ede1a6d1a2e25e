"""Turns as others write them, read as the ChatML messages of InternLM2 (report section 4.4).

==================  ============================================================================================
key of the record   what is read
==================  ============================================================================================
``messages``        OpenAI: ``role`` and ``content`` (a text or parts of text), ``tool_calls``, role ``tool``.
                    Our own messages are of this form too.
``conversations``   ShareGPT: ``from`` (human, gpt, function_call, observation, system) and ``value``.
``instruction``     Alpaca: ``instruction``, ``input``, ``output``, and perhaps ``history``, a list of pairs.
``text``            ChatML: turns between ``<|im_start|>`` and ``<|im_end|>``.
==================  ============================================================================================

Beside the turns, ``system`` goes before them and ``tools`` after the system prompt. A turn with ``weight: 0`` (or
``loss: false``, ``train: false``) is read but not trained on. What ChatML cannot say is refused, reasoning that is kept
apart from the answer among it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from internlm2_records.files import Record

ROLES = ("system", "user", "assistant", "environment")
TOOLS = ("<|plugin|>", "<|interpreter|>")
PLUGIN = TOOLS[0]
"""Functions with JSON arguments, as opposed to code for the interpreter (report section 4.4)."""

RESULTS = ("tool", "function", "observation")
"""Roles of others for what a tool gives back."""

ROLE_OF = {
    **{role: role for role in ROLES},
    "developer": "system",
    "human": "user",
    "gpt": "assistant",
    "function_call": "assistant",
    **dict.fromkeys(RESULTS, "environment"),
}
WEIGHTS = ("weight", "loss", "train")
"""What others call the switch that a turn is trained on."""

REASONING = ("reasoning_content", "reasoning", "thinking")
"""What others call reasoning beside the answer."""

FORMATS = ("messages", "conversations", "instruction", "text")
_TURN = re.compile(r"<\|im_start\|>(\w+)(?: name=(<\|\w+\|>))?\n(.*?)<\|im_end\|>", re.DOTALL)


class ToolCall(TypedDict):
    """A call that an assistant turn ends in.

    Attributes:
        tool: ``<|plugin|>`` or ``<|interpreter|>``.
        content: JSON for a plugin, code for the interpreter.
    """

    tool: str
    content: str


class Message(TypedDict):
    """One turn.

    Attributes:
        role: One of `ROLES`.
        content: What is said.
        name: ``<|plugin|>`` or ``<|interpreter|>`` for what a tool gets or gives.
        tool_call: The call that ends an assistant's turn.
        weight: 0 where nothing of the turn is to be learnt.
    """

    role: str
    content: str
    name: NotRequired[str]
    tool_call: NotRequired[ToolCall]
    weight: NotRequired[Literal[0]]


def conversation_of(record: Record) -> list[Message]:
    """The messages of one record in any of the formats above.

    Raises:
        KeyError: If a part of the format is missing.
        ValueError: If no format fits, there are no turns, or a turn is not of a known form.
    """
    key = next((key for key in FORMATS if record.get(key) is not None), None)
    if key is None:
        raise ValueError(f"keys={sorted(record)} must hold one of {', '.join(FORMATS)}.")
    found = _alpaca(record) if key == "instruction" else _chatml(record[key]) if key == "text" else record[key]
    turns = turns_of(found)
    if not turns:
        raise ValueError("it has no turns.")
    return with_tools(record, turns)


def turns_of(value: object, speaker: str = "user") -> list[Message]:
    """Turns of a text, a message or a list of messages.

    Args:
        value: What is read.
        speaker: Role of a bare text.

    Raises:
        ValueError: If it is neither of these, or a message is not of a known form.
    """
    if isinstance(value, str):
        return [{"role": speaker, "content": whole(value)}]
    if not isinstance(value, (Mapping, Sequence)):
        raise ValueError(f"{shown(value)} is neither a text nor a list of messages.")
    turns: list[Message] = []
    for number, item in enumerate([value] if isinstance(value, Mapping) else value, 1):
        try:
            turn = _turn_of(item)
        except ValueError as error:
            raise ValueError(f"turn {number}: {error}") from None
        last = turns[-1] if turns else None
        if item.get("from") == "function_call" and last and last["role"] == "assistant" and "tool_call" not in last:
            turn["content"] = last["content"]  # ShareGPT writes a turn's words and its call apart.
            last.update(turn)
        else:
            turns.append(turn)
    return turns


def with_tools(record: Record, turns: Sequence[Message]) -> list[Message]:
    """Turns with what a record holds beside them.

    Args:
        record: Its ``system`` prompt goes first, and its ``tools`` after all that the system says first.
        turns: The record's turns.

    Raises:
        ValueError: If the system prompt is not a text.
    """
    opened: list[Message] = [*turns]
    if record.get("system"):
        opened.insert(0, {"role": "system", "content": _text(record["system"], "system")})
    tools = record.get("tools")
    if tools and tools != "[]":
        listed = tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
        place = next((number for number, turn in enumerate(opened) if turn["role"] != "system"), len(opened))
        opened.insert(place, {"role": "system", "name": PLUGIN, "content": whole(listed, "tools")})
    return opened


def _turn_of(message: object) -> Message:
    if not isinstance(message, Mapping):
        raise ValueError(f"{shown(message)} is not a message such as {{'role': ..., 'content': ...}}.")
    speaker = message.get("role") or message.get("from")
    if speaker not in ROLE_OF:
        raise ValueError(f"role={speaker!r} must be one of {', '.join(ROLE_OF)}.")
    content = message.get("content")
    content = message.get("value") if content is None else content
    if apart := next((key for key in REASONING if message.get(key)), None):
        raise ValueError(f"{apart}={shown(message[apart])} has no place in ChatML. Put it into content, or drop it.")
    if speaker == "function_call":
        call: ToolCall | None = {"tool": PLUGIN, "content": _text(content, "call")}
        content = ""
    else:
        call = _call(message)
    turn: Message = {"role": ROLE_OF[speaker], "content": "" if content is None and call else _text(content)}
    if speaker in RESULTS:
        turn["name"] = PLUGIN
    elif message.get("name"):
        turn["name"] = _tool(message["name"])
    if call:
        turn["tool_call"] = call
    if _is_silent(message):
        turn["weight"] = 0
    return turn


def _is_silent(message: Mapping[str, Any]) -> bool:
    """Whether nothing of a turn is to be learnt."""
    given = {key: message[key] for key in WEIGHTS if message.get(key) is not None}
    for key, value in given.items():
        if value not in (0, 1):
            raise ValueError(f"{key}={shown(value)} must be 0 (not trained on) or 1.")
    return 0 in given.values()


def _call(message: Mapping[str, Any]) -> ToolCall | None:
    """The call of a message: ours, or OpenAI's ``tool_calls`` or ``function_call``."""
    if own := message.get("tool_call"):
        if not isinstance(own, Mapping) or not isinstance(own.get("content"), str):
            raise ValueError(f"tool_call={shown(own)} must be {{'tool': '{PLUGIN}', 'content': ...}}.")
        return {"tool": _tool(own.get("tool")), "content": whole(own["content"], "tool_call")}
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, Sequence):
        calls = (calls,)
    functions: list[Any] = [call.get("function") if isinstance(call, Mapping) else None for call in calls]
    functions += [message["function_call"]] if message.get("function_call") else []
    if not all(isinstance(function, Mapping) for function in functions):
        raise ValueError(f"tool_calls={shown(calls)} must be [{{'function': {{'name': ..., 'arguments': ...}}}}].")
    if not functions:
        return None
    spelt = [_with_arguments(function) for function in functions]
    written = json.dumps(spelt if len(spelt) > 1 else spelt[0], ensure_ascii=False)
    return {"tool": PLUGIN, "content": whole(written, "tool_calls")}


def _with_arguments(function: Mapping[str, Any]) -> dict[str, Any]:
    """A function whose arguments are an object, and not JSON inside of JSON as OpenAI writes them."""
    try:
        return {**function, "arguments": json.loads(function["arguments"])}
    except (KeyError, TypeError, ValueError):
        return dict(function)


def _tool(name: object) -> str:
    if name not in TOOLS:
        raise ValueError(f"name={name!r} must be one of {', '.join(TOOLS)}, or left out.")
    return str(name)


def _text(content: object, what: str = "content") -> str:
    if isinstance(content, str):
        return whole(content, what)
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise ValueError(f"{what}={shown(content)} must be a text.")
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"{what} has the part {shown(part)}, but only parts of text can be read.")
    return whole("".join(part["text"] for part in content), what)


def whole(text: str, what: str = "content") -> str:
    """A text, refused where it cannot be written down.

    JSON may hold half of a character outside of the basic plane, which other tools leave where they cut a text.

    Args:
        text: Any text.
        what: What the error calls it.

    Raises:
        ValueError: If it holds a lone surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(f"{what}={shown(text)} holds {half!r}, which is half of a character.") from None
    return text


def _alpaca(record: Record) -> list[dict[str, Any]]:
    history = record.get("history") or ()
    if not isinstance(history, Sequence) or not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in history):
        raise ValueError(f"history={shown(history)} must be a list of pairs of texts.")
    asked = "\n".join(_text(part, "instruction") for part in (record["instruction"], record.get("input")) if part)
    said = [*(words for pair in history for words in pair), asked, record["output"]]
    return [{"role": ("user", "assistant")[number % 2], "content": words} for number, words in enumerate(said)]


def _chatml(text: object) -> list[dict[str, Any]]:
    if not isinstance(text, str):
        raise ValueError(f"text={shown(text)} must be a text.")
    if rest := _TURN.sub("", text).strip():
        raise ValueError(f"{rest[:40]!r} is outside of <|im_start|> and <|im_end|>.")
    return [{"role": role, "name": name, "content": words} for role, name, words in _TURN.findall(text)]


def shown(value: object) -> str:
    """A value as messages show it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
