"""Preference records: one prompt, a preferred and a rejected reply, and the domain by which that was judged.

On disk a record is a JSON line ``{"domain", "prompt": [messages], "chosen", "rejected", "source", "meta"}``; see
`messages` for what may stand for messages and replies. Pairs that cannot teach anything (both sides equal, an empty
side) are counted and skipped, or refused: never silent.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from internlm2_core.text.chat import Message

from internlm2_align.preferences.messages import Reply, reply_key, reply_of, turns_of, with_tools
from internlm2_align.preferences.records import Record, raw_records, validated

OnBad = Literal["skip", "raise"]


@dataclass(frozen=True, slots=True)
class Preference:
    """One pair.

    Args:
        domain: Which preference it expresses; names a condition prompt.
        prompt: The conversation before the reply.
        chosen: The preferred reply.
        rejected: The other reply.
        source: Where the pair comes from, e.g. ``simulated:answers``.
        meta: Anything else; ``language`` picks the language of the condition prompt, ``question`` groups splits,
            ``margin`` is a difference wanted between the scores, ``score_gap`` how much better the chosen side was
            judged, ``slices`` names groups that figures are given for.
        where: File and line, for messages.
    """

    domain: str
    prompt: tuple[Message, ...]
    chosen: Reply
    rejected: Reply
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    where: str = field(default="", compare=False)

    @property
    def language(self) -> str:
        """Language of the condition prompt."""
        return language_in(self.meta)

    @property
    def margin(self) -> float:
        """Difference wanted between the two scores."""
        return float(self.meta.get("margin", 0.0))

    @property
    def place(self) -> str:
        """What messages call it."""
        return self.where or f"A pair of {self.source or self.domain}"

    def defect(self) -> str | None:
        """Why the pair cannot be used, as a short name for counts; None if it can."""
        if not self.prompt:
            return "empty_prompt"
        chosen, rejected = reply_key(self.chosen), reply_key(self.rejected)
        if not chosen or not rejected:
            return "empty_reply"
        return "identical" if chosen == rejected else None


def language_in(meta: Mapping[str, Any], default: str = "en") -> str:
    """The language that ``meta`` names."""
    return str(meta.get("language") or default)


def check_on_bad(on_bad: str) -> None:
    """Refuse what is neither skip nor raise.

    Raises:
        ValueError: If it is neither.
    """
    if on_bad not in get_args(OnBad):
        raise ValueError(f"on_bad={on_bad} is none of {', '.join(get_args(OnBad))}; set on_bad to one of them.")


def usable(pairs: Iterable[Preference], counts: Counter[str], on_bad: OnBad = "skip") -> Iterator[Preference]:
    """The pairs that can be used.

    Args:
        pairs: Any pairs.
        counts: Gets one count a pair, under ``used`` or the defect's name.
        on_bad: What to do with a pair that cannot.

    Raises:
        ValueError: With ``on_bad="raise"``, at the first pair that cannot be used.
    """
    for pair in pairs:
        defect = pair.defect()
        counts[defect or "used"] += 1
        if defect is None:
            yield pair
        elif on_bad == "raise":
            raise ValueError(f"{pair.place} is unusable: {defect}. Drop it or set on_bad=skip.")


def read_preferences(path: str | Path) -> Iterator[Preference]:
    """Read our own records, of any file that `records` reads.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not a preference record; the message names the line.
    """
    for where, raw in raw_records(path, "write preferences with `internlm2 label`, or name another file"):
        yield replace(validated(where, raw, from_record), where=where)


def from_record(record: Record) -> Preference:
    """A pair from its JSON form.

    Raises:
        KeyError: If ``domain``, ``prompt``, ``chosen`` or ``rejected`` is missing.
        ValueError: If one of them is of no known form.
    """
    if not isinstance(record["domain"], str):
        raise ValueError(f"domain is {record['domain']!r}; write the name of a condition prompt.")
    return Preference(
        domain=record["domain"],
        prompt=tuple(with_tools(record, turns_of(record["prompt"]))),
        chosen=reply_of(record["chosen"]),
        rejected=reply_of(record["rejected"]),
        source=str(record.get("source") or ""),
        meta=meta_of(record),
    )


def meta_of(record: Record) -> dict[str, Any]:
    """The ``meta`` of a record.

    Raises:
        ValueError: If it is no mapping, or a value that we use is of another kind.
    """
    meta = record.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise ValueError(f"meta is {meta!r}; write a mapping.")
    # Parquet gives every row all keys.
    meta = {name: value for name, value in meta.items() if value is not None}
    for name in ("margin", "score_gap"):
        if name in meta and not is_number(meta[name]):
            raise ValueError(f"meta.{name} is {meta[name]!r}; write a number.")
    slices = meta.get("slices", ())
    if isinstance(slices, str) or not all(isinstance(name, str) for name in slices):
        raise ValueError(f"meta.slices is {slices!r}; write a list of names.")
    return meta


def is_number(value: object) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def to_record(pair: Preference) -> dict[str, Any]:
    """The JSON form of a pair."""
    return {
        "domain": pair.domain,
        "prompt": list(pair.prompt),
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "source": pair.source,
        "meta": pair.meta,
    }
