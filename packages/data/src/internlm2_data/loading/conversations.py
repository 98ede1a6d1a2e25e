r"""Conversations of others as ChatML messages ``{"role", "content"}``, with ``name`` and ``tool_call`` for tools.

==========  ====================================================================================================
`messages`  ``messages``: ``role`` and ``content`` as OpenAI writes them, ``tool_calls`` and role ``tool`` included;
            our own lines are of this format too
`sharegpt`  ``conversations``: ``from`` (human, gpt, function_call, observation, system) and ``value``; beside them
            ``system`` and ``tools``
`alpaca`    ``instruction``, ``input``, ``output``; optionally ``system`` and ``history``, a list of (asked, answered)
`chatml`    ``text``: turns between ``<|im_start|>`` and ``<|im_end|>``
==========  ====================================================================================================

Which one a record is shows in its keys, so that files of several formats may be listed together. Files are JSON lines
or a JSON list, plain or compressed (.gz, .zst), Parquet, or a folder that `datasets` saved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from internlm2_data.io.streams import open_binary

Messages = list[dict[str, Any]]
Record = Mapping[str, Any]

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


def read_conversations(paths: Sequence[str | Path]) -> Iterator[Messages]:
    """The messages of every record of some files.

    Args:
        paths: files or folders, of one format or several.

    Raises:
        FileNotFoundError: for a path that is not there.
        ValueError: for a record that is of no format, with file and number.
    """
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"no conversations at {path}: set conversations=[FILE]")
        for number, record in enumerate(read_records(path), 1):
            try:
                yield messages_of(record)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(
                    f"{path} record {number} is no conversation ({type(error).__name__}: {error}): "
                    f"give it one of {', '.join(FORMATS)}"
                ) from None


def messages_of(record: Record) -> Messages:
    """The messages of one record, whichever format it is of.

    Raises:
        ValueError: no format fits, or nobody says anything.
    """
    parse = next((FORMATS[key] for key in FORMATS if key in record), None)
    if parse is None:
        raise ValueError(f"its keys are {sorted(record)}")
    messages = parse(record)
    if not messages:
        raise ValueError("no turns")
    return messages


def read_records(path: Path) -> Iterable[Record]:
    """The records of a file or folder."""
    if path.is_dir():
        return arrow_records(path)
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    if name.endswith(".parquet"):
        return (row for batch in pq.ParquetFile(path).iter_batches(1024) for row in batch.to_pylist())
    if name.endswith(".json"):
        with open_binary(path) as file:
            return json.load(file)  # type: ignore[no-any-return]
    return json_lines(path)


def json_lines(path: Path) -> Iterator[Record]:
    """The objects of a JSONL file.

    Raises:
        ValueError: for a broken line, with its number.
    """
    with open_binary(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path} line {number} is no JSON: {error}") from None
            yield record


def arrow_records(folder: Path) -> Iterator[Record]:
    """The rows of a folder that `datasets.Dataset.save_to_disk` wrote.

    Raises:
        FileNotFoundError: the folder holds no Arrow file.
    """
    files = sorted(folder.glob("*.arrow"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no *.arrow of datasets.save_to_disk: set conversations=[FILE]")
    for file in files:
        with pa.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as batches:
            for batch in batches:
                yield from batch.to_pylist()


def openai(record: Record) -> Messages:
    """Messages with ``role`` and ``content``."""
    return [openai_turn(message) for message in record["messages"]]


def openai_turn(message: Record) -> dict[str, Any]:
    """One turn; our own fields ``name`` and ``tool_call`` pass."""
    if message["role"] == "tool":
        return {"role": "environment", "name": PLUGIN, "content": message["content"] or ""}
    turn = {"role": ROLES[message["role"]], "content": message.get("content") or ""}
    turn |= {key: message[key] for key in ("name", "tool_call") if message.get(key)}
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    if calls:
        turn["tool_call"] = plugin_call(calls if len(calls) > 1 else calls[0])
    return turn


def sharegpt(record: Record) -> Messages:
    """Turns with ``from`` and ``value``; a function call ends the assistant's turn before it, or is one by itself."""
    messages = opening(record)
    for turn in record["conversations"]:
        speaker, words = turn["from"], turn["value"]
        if speaker == "observation":
            messages.append({"role": "environment", "name": PLUGIN, "content": words})
        elif speaker == "function_call":
            if not messages or messages[-1]["role"] != "assistant" or "tool_call" in messages[-1]:
                messages.append({"role": "assistant", "content": ""})
            messages[-1]["tool_call"] = {"tool": PLUGIN, "content": words}
        else:
            messages.append({"role": ROLES[speaker], "content": words})
    return messages


def opening(record: Record) -> Messages:
    """System prompt and tools, where there are any."""
    messages: Messages = [{"role": "system", "content": record["system"]}] if record.get("system") else []
    if record.get("tools") and record["tools"] != "[]":
        messages.append({"role": "system", "name": PLUGIN, "content": record["tools"]})
    return messages


def plugin_call(call: Any) -> dict[str, str]:
    """A call of functions as ChatML writes it."""
    return {"tool": PLUGIN, "content": json.dumps(call, ensure_ascii=False)}


def alpaca(record: Record) -> Messages:
    """An instruction, perhaps with an input, and what was answered."""
    messages = opening(record)
    for asked, answered in record.get("history") or ():
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    asked = "\n".join(part for part in (record["instruction"], record.get("input")) if part)
    return [*messages, {"role": "user", "content": asked}, {"role": "assistant", "content": record["output"]}]


def chatml(record: Record) -> Messages:
    """Text with its turns marked; what stands outside of turns is refused."""
    text = record["text"]
    if rest := TURN.sub("", text).strip():
        raise ValueError(f"{rest[:40]!r} stands outside of <|im_start|> and <|im_end|>")
    turns = [{"role": ROLES[role], "name": name, "content": words} for role, name, words in TURN.findall(text)]
    return [turn if turn["name"] else {key: turn[key] for key in ("role", "content")} for turn in turns]


FORMATS: dict[str, Callable[[Record], Messages]] = {
    "messages": openai,
    "conversations": sharegpt,
    "instruction": alpaca,
    "text": chatml,
}
"""Formats by the key that shows them."""
