"""Files of prompts for PPO, in every form that people have them.

A record is a conversation in any format that fine-tuning reads (`internlm2_records.conversation_of`), or a ``prompt``:
a text or messages, with ``system`` and ``tools`` beside it. No reply is needed. One that ends the conversation is left
out. ``domain`` of the record says by which condition replies are scored, else the domain of its ``task``, else that of
the file. ``language`` picks the language of the condition. Both may be in ``meta``.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internlm2_core.text.chat import ChatFormat
from internlm2_records import Message, Record, conversation_of, read_records, turns_of, with_tools

from internlm2_align.listed import listed
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.preferences.preference import OnBad


@dataclass(frozen=True)
class PromptFile:
    """A file of prompts.

    Attributes:
        path: File or folder.
        domain: Of records that name none, neither by ``domain`` nor by a known ``task``.
        language: Of records that name none.
    """

    path: str | Path
    domain: str = ""
    language: str = "en"


File = str | Path | Mapping[str, Any] | PromptFile
"""A path, or a `PromptFile`, its arguments as a mapping too."""


def prompt_files(files: File | Sequence[File]) -> list[PromptFile]:
    """One file or several as a list.

    Raises:
        ValueError: If an entry names no path or has an unknown key.
    """
    return listed(files, PromptFile, "{path: FILE, domain: maths}")


def read_prompts(
    files: Sequence[PromptFile],
    chat: ChatFormat,
    domains: Mapping[str, str],
    max_prompt_tokens: int,
    counts: Counter[str],
    on_bad: OnBad = "skip",
) -> Iterator[Prompt]:
    """Prompts of files, each once.

    Args:
        files: Where they are.
        chat: Encodes them.
        domains: Domain by ``task`` of a record.
        max_prompt_tokens: Longer prompts are left out.
        counts: Gets one for each record that is left out: ``malformed``, ``other_task`` (its task is not in ``domains``
            and nothing else names a domain), ``too_long``, ``duplicate`` (the same prompt again, in the same domain).
        on_bad: Whether a malformed record is counted or refused.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a record is malformed and ``on_bad`` is ``raise``. The message names its line.
    """
    seen = set[int]()
    for file in files:
        for placed in read_records(file.path):
            try:
                prompt = placed.parse(lambda record, file=file: _prompt(record, file, chat, domains))  # type: ignore[misc]
            except ValueError as error:
                if on_bad == "raise":
                    raise ValueError(f"{error} on_bad=skip counts such records.") from error
                counts["malformed"] += 1
                continue
            if prompt is None:
                counts["other_task"] += 1
            elif len(prompt.ids) > max_prompt_tokens:
                counts["too_long"] += 1
            elif (key := hash((prompt.domain, prompt.ids))) in seen:
                counts["duplicate"] += 1
            else:
                seen.add(key)
                yield prompt


def _prompt(record: Record, file: PromptFile, chat: ChatFormat, domains: Mapping[str, str]) -> Prompt | None:
    """The prompt of a record, or None if its task is not asked."""
    meta = record.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    task = record.get("task")
    domain = record.get("domain") or meta.get("domain") or (domains.get(task) if isinstance(task, str) else None)
    domain = domain or file.domain
    messages = asked(record)
    if not domain:
        if task is not None and domains:
            return None
        raise ValueError(
            "it names no domain. Add `domain` to it, give one for the file, as in {path: FILE, domain: maths}, or one "
            "for its task in domains."
        )
    if not isinstance(domain, str):
        raise ValueError(f"domain={domain!r} must be the name of a condition prompt.")
    language = str(record.get("language") or meta.get("language") or file.language)
    return Prompt(tuple(messages), tuple(chat.prompt(messages)), domain, language, record)


def asked(record: Record) -> list[Message]:
    """The turns of a record before the reply that is wanted.

    Raises:
        KeyError: If a part of its format is missing.
        ValueError: If it is of no known form, or nothing is asked.
    """
    if record.get("prompt") is not None:
        turns = with_tools(record, turns_of(record["prompt"]))
    elif isinstance(text := record.get("text"), str) and "<|im_start|>" not in text:
        turns = with_tools(record, turns_of(text))
    else:
        turns = conversation_of({**record, "output": record.get("output") or ""})
    if turns[-1:] and turns[-1]["role"] == "assistant":
        turns = turns[:-1]
    last = turns[-1] if turns else None
    if last is None or last["role"] not in ("user", "environment") or not last["content"].strip():
        shown = f"{last['role']}: {last['content'][:40]!r}" if last else "nothing"
        raise ValueError(f"it asks nothing: before the reply is {shown}, which must be words of the user or of a tool.")
    return turns
