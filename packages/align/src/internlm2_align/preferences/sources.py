r"""Preference data of others, read into preference records.

==========  ======================================================================================================
`records`   our own lines, see `preference`
`hh`        ``chosen`` and ``rejected`` are whole transcripts, ``\n\nHuman: ... \n\nAssistant: ...`` (HH-RLHF)
`dialogue`  ``chosen`` and ``rejected`` are a text, a message or messages; what stands before them is ``prompt``,
            ``messages`` or ``conversations``, or the beginning that both have in common
`ranked`    ``prompt`` and ``replies``, the best first: every better reply against every worse one
`scored`    ``prompt``, ``replies`` and ``scores``: every pair whose scores differ
==========  ======================================================================================================

Prompts are a text, or messages in any form that `messages` reads, with ``system`` and ``tools`` beside them; replies
are texts or an assistant's message. ``meta`` of a record goes with its pairs. `records` says which files are read.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from internlm2_core.text.chat import Message

from internlm2_align.preferences.messages import Reply, reply_of, shown, turns_of, with_tools
from internlm2_align.preferences.preference import OnBad, Preference, from_record, is_number, meta_of
from internlm2_align.preferences.records import Record, raw_records, validated

Sides = tuple[tuple[Message, ...], Reply, Reply, dict[str, Any]]
"""Prompt, chosen and rejected reply, and what else is known of the pair."""


@dataclass(frozen=True)
class PreferenceFile:
    """A file of pairs and how to read it.

    Attributes:
        path: See `records`.
        format: See this module.
        domain: Of its pairs; of format `records` those that name none.
        language: Of the condition prompts of pairs whose ``meta`` names none; English if empty.
        source: Named in figures; the file's name if empty.
        meta: Added to every pair.

    Raises:
        ValueError: If the format is unknown, or no domain is given and records of the format have none.
    """

    path: str
    format: str = "records"
    domain: str = ""
    language: str = ""
    source: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format != "records" and self.format not in PARSERS:
            known = ", ".join(["records", *PARSERS])
            raise ValueError(f"Format {self.format!r} of {self.path} is none of {known}; set its format.")
        if self.format != "records" and not self.domain:
            raise ValueError(f"{self.path} of format {self.format} names no domain; set its domain.")

    def read(
        self, counts: Counter[str] | None = None, on_bad: OnBad = "raise", key: str = "preferences"
    ) -> Iterator[Preference]:
        """The pairs.

        Args:
            counts: Gets ``malformed`` for each record that does not fit the format, ``no_pair`` for each that fits and
                gives none, as replies whose scores are equal.
            on_bad: What to do with a record that does not fit.
            key: Setting that names the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: With ``on_bad="raise"``, at the first record that does not fit; the message names the line.
        """
        counts = Counter() if counts is None else counts
        for where, raw in raw_records(self.path, f"set {key}=[FILE], or write it with `internlm2 label`"):
            try:
                pairs = validated(where, raw, self._pairs)
            except ValueError as error:
                if on_bad == "raise":
                    raise ValueError(f"{error} Read as format {self.format}; mend it or set on_bad=skip.") from error
                counts["malformed"] += 1
                continue
            counts["no_pair"] += not pairs
            yield from (replace(pair, where=where) for pair in pairs)

    def _pairs(self, record: Record) -> list[Preference]:
        own = {"language": self.language} if self.language else {}
        own |= self.meta
        if self.format == "records":
            pair = from_record({"domain": self.domain, **record} if self.domain else record)
            return [replace(pair, source=self.source or pair.source, meta={**own, **pair.meta})]
        meta = {**own, **meta_of(record)}
        name = self.source or Path(self.path).name
        sides = list(PARSERS[self.format](record))
        return [
            Preference(self.domain, prompt, chosen, rejected, name, {**meta, **more})
            for prompt, chosen, rejected, more in sides
        ]


File = str | Mapping[str, Any] | PreferenceFile
"""A path of our own records, or a `PreferenceFile`, its arguments as a mapping too."""


def preference_files(files: File | Sequence[File], key: str = "preferences") -> list[PreferenceFile]:
    """Files as a setting names them: one or a list.

    Args:
        files: What is set.
        key: The setting, for messages.

    Raises:
        ValueError: If an entry names no path, or has an argument that is none.
    """
    found = [files] if isinstance(files, (str, Mapping, PreferenceFile)) else files
    return [_file(entry, key) for entry in found]


def _file(entry: File, key: str) -> PreferenceFile:
    if isinstance(entry, PreferenceFile):
        return entry
    arguments = {"path": entry} if isinstance(entry, str) else dict(entry)
    known = [argument.name for argument in fields(PreferenceFile)]
    unknown = [name for name in arguments if name not in known]
    if unknown or "path" not in arguments:
        wrong = f"has {unknown[0]!r}" if unknown else "names no path"
        raise ValueError(f"An entry of {key} {wrong}; write {key}=[{{path: FILE, format: hh, domain: helpful}}]; keys "
                         f"are {', '.join(known)}.")  # fmt: skip
    return PreferenceFile(**arguments)


def all_preferences(
    files: File | Sequence[File],
    counts: Counter[str] | None = None,
    on_bad: OnBad = "raise",
    key: str = "preferences",
) -> Iterator[Preference]:
    """The pairs of several files; arguments as for `preference_files` and `PreferenceFile.read`."""
    for file in preference_files(files, key):
        yield from file.read(counts, on_bad, key)


def hh(record: Record) -> Iterator[Sides]:
    """A pair of HH-RLHF transcripts."""
    yield (*_common(transcript(record["chosen"]), transcript(record["rejected"])), {})


def transcript(text: object) -> list[Message]:
    r"""Turns of a transcript in which ``\n\nHuman:`` and ``\n\nAssistant:`` begin turns.

    Raises:
        ValueError: If it is no text, or does not begin with a turn of the human.
    """
    if not isinstance(text, str):
        raise ValueError(f"a side is a {type(text).__name__} and no transcript; messages are of format: dialogue.")
    before, *pieces = ("\n\n" + text.strip()).split("\n\nHuman:")
    if before.strip() or not pieces:
        raise ValueError(f"the transcript {text[:40]!r} does not begin with 'Human:'.")
    messages: list[Message] = []
    for piece in pieces:
        words, *answers = piece.split("\n\nAssistant:")
        messages.append({"role": "user", "content": words.strip()})
        messages += [{"role": "assistant", "content": answer.strip()} for answer in answers]
    return messages


def dialogue(record: Record) -> Iterator[Sides]:
    """A pair of texts, messages or dialogues."""
    chosen, rejected = (turns_of(record[side], "assistant") for side in ("chosen", "rejected"))
    if not chosen or not rejected:
        raise ValueError("a side holds no message.")
    if chosen[0]["role"] == "assistant":
        before = _prompt(record)
        yield (*_common([*before, *chosen], [*before, *rejected]), {})
    else:  # The sides hold the prompt themselves.
        yield (*_common(with_tools(record, chosen), with_tools(record, rejected)), {})


def ranked(record: Record) -> Iterator[Sides]:
    """A list of replies, the best first."""
    prompt = _prompt(record)
    for better, worse in combinations(replies_of(record), 2):
        yield prompt, better, worse, {}


def scored(record: Record) -> Iterator[Sides]:
    """Replies with scores, higher is better."""
    prompt, replies, scores = _prompt(record), replies_of(record), record["scores"]
    if not isinstance(scores, Sequence) or not all(map(is_number, scores)):
        raise ValueError(f"scores is {shown(scores)}; write one number a reply.")
    if len(scores) != len(replies):
        raise ValueError(f"it has {len(replies)} replies and {len(scores)} scores; write one number a reply.")
    for (first, high), (second, low) in combinations(zip(replies, scores, strict=True), 2):
        if high != low:
            better, worse = (first, second) if high > low else (second, first)
            yield prompt, better, worse, {"score_gap": abs(high - low)}


PARSERS: dict[str, Callable[[Record], Iterator[Sides]]] = {
    "hh": hh,
    "dialogue": dialogue,
    "ranked": ranked,
    "scored": scored,
}


def replies_of(record: Record) -> list[Reply]:
    """The list ``replies`` of a record.

    Raises:
        KeyError: If there is none.
        ValueError: If it is no list, is empty, or holds what is no reply.
    """
    replies = record["replies"]
    if isinstance(replies, (str, Mapping)) or not isinstance(replies, Sequence) or not replies:
        raise ValueError(f"replies is {shown(replies)}; write a list of one reply or more.")
    return [reply_of(reply) for reply in replies]


def _prompt(record: Record) -> tuple[Message, ...]:
    found = [record[key] for key in ("prompt", "messages", "conversations") if record.get(key) is not None]
    if not found:
        raise KeyError("prompt")
    return tuple(with_tools(record, turns_of(found[0])))


def _common(chosen: Sequence[Message], rejected: Sequence[Message]) -> tuple[tuple[Message, ...], Reply, Reply]:
    """The beginning that two dialogues share, and the replies behind it.

    Only the first turn that differs is kept: what follows it answers different words.
    """
    length = 0
    while length < min(len(chosen), len(rejected)) - 1 and chosen[length] == rejected[length]:
        length += 1
    if chosen[length]["role"] != "assistant" or rejected[length]["role"] != "assistant":
        raise ValueError("the two dialogues differ before the assistant's reply.")
    return tuple(chosen[:length]), reply_of(chosen[length]), reply_of(rejected[length])
