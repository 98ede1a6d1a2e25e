r"""Preference files, ours and those of others, read into `Preference` pairs.

==========  ======================================================================================================
`records`   our own: ``{"domain", "prompt", "chosen", "rejected", "source", "meta"}``, what `to_record` writes
`hh`        ``chosen`` and ``rejected`` are whole transcripts, ``\n\nHuman: ... \n\nAssistant: ...`` (HH-RLHF)
`dialogue`  ``chosen`` and ``rejected`` are a text, a message or messages. What comes before them is ``prompt``,
            ``messages`` or ``conversations``, or the beginning that both have in common
`ranked`    ``prompt`` and ``replies``, the best first: every better reply against every worse one
`scored`    ``prompt``, ``replies`` and ``scores``: every pair whose scores differ
==========  ======================================================================================================

Prompts are a text, or messages as OpenAI, ShareGPT or we write them, with ``system`` and ``tools`` beside them. Replies
are texts or an assistant's message. ``meta`` of a record goes with its pairs. `internlm2_records` says which files are
read. A format of your own is a function in `PARSERS`.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from internlm2_records import Message, Record, read_records, turns_of, whole, with_tools

from internlm2_align.listed import listed
from internlm2_align.preferences.preference import OnBad, Preference, Reply, reply_of

Sides = tuple[Sequence[Message], Reply, Reply, dict[str, Any]]
"""Prompt, chosen and rejected reply, and what else is known of the pair."""


@dataclass(frozen=True)
class PreferenceFile:
    """A file of pairs and how to read it.

    Attributes:
        path: File or folder.
        format: See this module.
        domain: Of its pairs. With format ``records``, of those that name none.
        language: Of the condition prompts of pairs whose ``meta`` names none. English if empty.
        source: Named in figures. Empty takes the file's name.
        meta: Added to every pair.

    Raises:
        ValueError: If the format is unknown, or no domain is given and records of the format have none.
    """

    path: str | Path
    format: str = "records"
    domain: str = ""
    language: str = ""
    source: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format not in PARSERS:
            raise ValueError(f"format={self.format} of {self.path} must be one of {', '.join(PARSERS)}.")
        if self.format != "records" and not self.domain:
            raise ValueError(f"{self.path} of format={self.format} needs a domain, since its records name none.")

    def read(self, counts: Counter[str] | None = None, on_bad: OnBad = "raise") -> Iterator[Preference]:
        """The pairs.

        Args:
            counts: Gets ``malformed`` for each record that does not fit the format, ``no_pair`` for each that fits and
                gives none, such as replies with equal scores.
            on_bad: What to do with a record that does not fit.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If a record does not fit and ``on_bad`` is ``raise``. The message names its line.
        """
        counts = Counter() if counts is None else counts
        try:
            found = read_records(self.path)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error} `internlm2 label` writes such files.") from error
        for placed in found:
            try:
                pairs = placed.parse(partial(self._pairs, where=placed.place))
            except ValueError as error:
                if on_bad == "raise":
                    raise ValueError(f"{error} It was read as format={self.format}. on_bad=skip counts it.") from error
                counts["malformed"] += 1
                continue
            counts["no_pair"] += not pairs
            yield from pairs

    def _pairs(self, record: Record, where: str) -> list[Preference]:
        domain, source = self.domain, self.source or Path(self.path).name
        if self.format == "records":
            domain, source = record.get("domain", domain), self.source or str(record.get("source") or "")
            if not isinstance(domain, str) or not domain:
                raise ValueError(f"domain={domain!r} must be the name of a condition prompt.")
        meta = {**({"language": self.language} if self.language else {}), **self.meta, **meta_of(record)}
        return [
            Preference(domain, tuple(prompt), chosen, rejected, source, {**meta, **more}, where)
            for prompt, chosen, rejected, more in PARSERS[self.format](record)
        ]


File = str | Path | Mapping[str, Any] | PreferenceFile
"""A path of our own records, or a `PreferenceFile`, its arguments as a mapping too."""


def preference_files(files: File | Sequence[File]) -> list[PreferenceFile]:
    """One file or several as a list.

    Raises:
        ValueError: If an entry names no path or has an unknown key.
    """
    return listed(files, PreferenceFile, "{path: FILE, format: hh}")


def read_preferences(
    files: File | Sequence[File], counts: Counter[str] | None = None, on_bad: OnBad = "raise"
) -> Iterator[Preference]:
    """The pairs of one file or of several.

    Args:
        files: As for `preference_files`.
        counts: As for `PreferenceFile.read`.
        on_bad: What to do with a record that does not fit.
    """
    for file in preference_files(files):
        yield from file.read(counts, on_bad)


def records(record: Record) -> Iterator[Sides]:
    """A pair of our own."""
    prompt = with_tools(record, turns_of(record["prompt"]))
    chosen, rejected = (reply_of(turns_of(record[side], "assistant")) for side in ("chosen", "rejected"))
    yield prompt, chosen, rejected, {}


def hh(record: Record) -> Iterator[Sides]:
    """A pair of HH-RLHF transcripts."""
    yield (*_common(transcript(record["chosen"]), transcript(record["rejected"])), {})


def transcript(text: object) -> list[Message]:
    r"""Turns of a transcript in which ``\n\nHuman:`` and ``\n\nAssistant:`` begin turns.

    Raises:
        ValueError: If it is not a text, or does not begin with a turn of the human.
    """
    if not isinstance(text, str):
        raise ValueError(f"a side must be a transcript, not a {type(text).__name__}. Messages are of format=dialogue.")
    before, *pieces = ("\n\n" + whole(text, "transcript").strip()).split("\n\nHuman:")
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
    """Replies with scores, where higher is better."""
    prompt, replies, scores = _prompt(record), replies_of(record), record["scores"]
    if not isinstance(scores, Sequence) or not all(map(is_number, scores)) or len(scores) != len(replies):
        raise ValueError(f"scores={scores!r} must be {len(replies)} numbers, one for each reply.")
    for (first, high), (second, low) in combinations(zip(replies, scores, strict=True), 2):
        if high != low:
            better, worse = (first, second) if high > low else (second, first)
            yield prompt, better, worse, {"score_gap": abs(high - low)}


PARSERS: dict[str, Callable[[Record], Iterator[Sides]]] = {
    "records": records,
    "hh": hh,
    "dialogue": dialogue,
    "ranked": ranked,
    "scored": scored,
}
"""Parser by format. It raises KeyError for a missing key and ValueError for everything else that it refuses."""


def replies_of(record: Record) -> list[Reply]:
    """The list ``replies`` of a record.

    Raises:
        KeyError: If there is none.
        ValueError: If it is empty, is not a list, or holds something else than replies.
    """
    replies = record["replies"]
    if isinstance(replies, (str, Mapping)) or not isinstance(replies, Sequence) or not replies:
        raise ValueError(f"replies={str(replies)[:40]!r} must be a list of one reply or more.")
    return [reply_of(turns_of(reply, "assistant")) for reply in replies]


def meta_of(record: Record) -> dict[str, Any]:
    """The ``meta`` of a record.

    Raises:
        ValueError: If it is not a mapping, or a value that we use is of another kind.
    """
    meta = record.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise ValueError(f"meta={meta!r} must be a mapping.")
    # Parquet gives every row all keys.
    meta = {name: value for name, value in meta.items() if value is not None}
    for name in ("margin", "score_gap"):
        if name in meta and not is_number(meta[name]):
            raise ValueError(f"meta.{name}={meta[name]!r} must be a number.")
    slices = meta.get("slices", ())
    if isinstance(slices, str) or not all(isinstance(name, str) for name in slices):
        raise ValueError(f"meta.slices={slices!r} must be a list of names.")
    return meta


def is_number(value: object) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _prompt(record: Record) -> list[Message]:
    found = [record[key] for key in ("prompt", "messages", "conversations") if record.get(key) is not None]
    if not found:
        raise KeyError("prompt")
    return with_tools(record, turns_of(found[0]))


def _common(chosen: Sequence[Message], rejected: Sequence[Message]) -> tuple[Sequence[Message], Reply, Reply]:
    """The beginning that two dialogues share, and the replies behind it.

    Only the first turn that differs is kept. What follows it answers different words.
    """
    length = 0
    while length < min(len(chosen), len(rejected)) - 1 and chosen[length] == rejected[length]:
        length += 1
    if chosen[length]["role"] != "assistant" or rejected[length]["role"] != "assistant":
        raise ValueError("the two dialogues differ before the assistant's reply.")
    return chosen[:length], reply_of([chosen[length]]), reply_of([rejected[length]])
