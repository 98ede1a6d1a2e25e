r"""Preference data of others, read into preference records.

==========  ======================================================================================================
`records`   our own lines, see `preference`
`hh`        ``chosen`` and ``rejected`` are whole transcripts, ``\n\nHuman: ... \n\nAssistant: ...`` (HH-RLHF)
`dialogue`  ``chosen`` and ``rejected`` are a text, a message or messages; what stands before them is ``prompt``
            (a text or messages), ``messages`` or ``conversations``, or the beginning that both have in common
`ranked`    ``prompt`` and ``replies``, the best first: every better reply against every worse one
`scored`    ``prompt``, ``replies`` and ``scores``: every pair whose scores differ
==========  ======================================================================================================

Messages are ``{"role", "content"}`` or ``{"from", "value"}`` (ShareGPT). Files are JSON lines, a JSON list, or Parquet
and Arrow through `datasets`; ``.gz`` and ``.zst`` are opened.
"""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from internlm2_core.evaluation.records import read_records
from internlm2_core.text.chat import Message

from internlm2_align.reward.preference import Preference, read_preferences

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
Sides = tuple[tuple[Message, ...], str, str, dict[str, Any]]
Parser = Callable[[Mapping[str, Any]], Iterator[Sides]]


@dataclass(frozen=True)
class PreferenceFile:
    """A file of pairs and how to read it.

    Attributes:
        path: JSON lines, a JSON list, Parquet or Arrow; or a folder of JSON lines.
        format: See this module.
        domain: Of its pairs; `records` bring their own.
        language: Of its condition prompts.
        source: Named in figures; the file's name if empty.
        meta: Added to every pair.
    """

    path: str
    format: str = "records"
    domain: str = ""
    language: str = "en"
    source: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format != "records" and self.format not in PARSERS:
            known = ", ".join(["records", *PARSERS])
            raise ValueError(f"Format {self.format!r} of {self.path} is none of {known}; set its format.")
        if self.format != "records" and not self.domain:
            raise ValueError(f"{self.path} of format {self.format} names no domain; set its domain.")

    def read(self) -> Iterator[Preference]:
        """The pairs.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If a record does not fit the format; the message names it.
        """
        if self.format == "records":
            yield from read_preferences(self.path)
            return
        parse = PARSERS[self.format]
        name = self.source or Path(self.path).name
        for number, record in enumerate(_records(Path(self.path)), 1):
            try:
                for prompt, chosen, rejected, meta in parse(record):
                    meta = {"language": self.language, **self.meta, **meta}
                    yield Preference(self.domain, prompt, chosen, rejected, name, meta)
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                raise ValueError(
                    f"Record {number} of {self.path} is not of format {self.format} ({type(error).__name__}: {error}); "
                    f"it has {', '.join(sorted(record))}."
                ) from error


def all_preferences(files: Iterable[str | PreferenceFile]) -> Iterator[Preference]:
    """The pairs of several files; a plain path holds our own records."""
    for file in files:
        yield from (PreferenceFile(file) if isinstance(file, str) else file).read()


def _records(path: Path) -> Iterable[Mapping[str, Any]]:
    names = path.name.lower()
    if names.endswith((".json", ".json.gz")):
        if not path.is_file():
            raise FileNotFoundError(f"No preferences at {path}; set preferences=PATH.")
        with gzip.open(path, "rt", encoding="utf-8") if names.endswith(".gz") else path.open(encoding="utf-8") as file:
            found: list[Mapping[str, Any]] = json.load(file)
        return found
    if names.endswith((".parquet", ".arrow")):
        from datasets import load_dataset

        kind = names.rsplit(".", 1)[1]
        return load_dataset(kind, data_files=str(path), split="train")  # type: ignore[no-any-return]
    return read_records(path)


def hh(record: Mapping[str, Any]) -> Iterator[Sides]:
    """A pair of HH-RLHF transcripts."""
    chosen, rejected = transcript(record["chosen"]), transcript(record["rejected"])
    yield (*_common(chosen, rejected), {})


def transcript(text: str) -> list[Message]:
    r"""Turns of a transcript in which ``\n\nHuman:`` and ``\n\nAssistant:`` begin turns."""
    messages: list[Message] = []
    for piece in ("\n\n" + text.strip()).split("\n\nHuman:")[1:]:
        words, *answers = piece.split("\n\nAssistant:")
        messages.append({"role": "user", "content": words.strip()})
        messages += [{"role": "assistant", "content": answer.strip()} for answer in answers]
    if not messages:
        raise KeyError("no turn begins with 'Human:'")
    return messages


def dialogue(record: Mapping[str, Any]) -> Iterator[Sides]:
    """A pair of texts, messages or dialogues."""
    chosen, rejected = _turns(record["chosen"], "assistant"), _turns(record["rejected"], "assistant")
    before = record.get("prompt", record.get("messages", record.get("conversations")))
    if before is not None and len(chosen) == len(rejected) == 1:
        yield tuple(_turns(before, "user")), chosen[0]["content"], rejected[0]["content"], {}
    else:
        yield (*_common(chosen, rejected), {})


def ranked(record: Mapping[str, Any]) -> Iterator[Sides]:
    """A list of replies, the best first."""
    prompt = tuple(_turns(record["prompt"], "user"))
    for better, worse in combinations(record["replies"], 2):
        yield prompt, better, worse, {}


def scored(record: Mapping[str, Any]) -> Iterator[Sides]:
    """Replies with scores, higher is better."""
    prompt = tuple(_turns(record["prompt"], "user"))
    pairs = list(zip(record["replies"], record["scores"], strict=True))
    for (first, high), (second, low) in combinations(pairs, 2):
        if high != low:
            better, worse = (first, second) if high > low else (second, first)
            yield prompt, better, worse, {"score_gap": abs(high - low)}


PARSERS: dict[str, Parser] = {"hh": hh, "dialogue": dialogue, "ranked": ranked, "scored": scored}


def _turns(value: object, role: str) -> list[Message]:
    """A text, a message or messages as messages."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, Mapping):
        name, content = value.get("role", value.get("from")), value.get("content", value.get("value"))
        if name not in ROLES or not isinstance(content, str):
            raise KeyError(f"message with role {name!r}")
        return [{"role": ROLES[name], "content": content}]
    if isinstance(value, Sequence):
        return [message for item in value for message in _turns(item, role)]
    raise TypeError(f"{type(value).__name__} is no message")


def _common(chosen: Sequence[Message], rejected: Sequence[Message]) -> tuple[tuple[Message, ...], str, str]:
    """The beginning that two dialogues share, and the replies behind it.

    Only the first turn that differs is kept: what follows it answers different words.
    """
    length = 0
    while length < min(len(chosen), len(rejected)) - 1 and chosen[length] == rejected[length]:
        length += 1
    if chosen[length]["role"] != "assistant" or rejected[length]["role"] != "assistant":
        raise KeyError("the dialogues differ before the assistant's reply")
    return tuple(chosen[:length]), chosen[length]["content"], rejected[length]["content"]
