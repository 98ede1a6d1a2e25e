"""Comparison: one prompt and two replies that somebody is to judge, and the judgement.

`internlm2 label` reads comparisons, asks an annotator, and writes what was decided as `Preference` pairs.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from internlm2_records import Message, Record, read_records, turns_of, with_tools

from internlm2_align.preferences.preference import Preference, Reply, language_in, reply_key, to_record
from internlm2_align.preferences.sources import meta_of, replies_of

Verdict = Literal["first", "second", "tie", "both_bad", "skip"]
"""Which reply is better. ``skip`` says that the annotator does not judge this one."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

FOR_ANNOTATORS = ("gold", "record")
"""What the ``meta`` of a comparison tells an annotator alone. It does not go with the pair."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two replies to one prompt.

    Args:
        id: Names it in judgements.
        domain: By which preference it is judged. It names a condition prompt.
        prompt: The conversation before the reply.
        replies: The two replies.
        meta: Anything else, as in `Preference`. ``gold`` is the verdict that is known to be right, for checks of
            annotators, ``record`` the instruction record whose answer a program can check.
    """

    id: str
    domain: str
    prompt: tuple[Message, ...]
    replies: tuple[Reply, Reply]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def language(self) -> str:
        """Language of the condition prompt."""
        return language_in(self.meta)

    @property
    def content(self) -> str:
        """What tells it apart from others that ask something else, whatever its id."""
        return content_of(self.domain, self.prompt, self.replies)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an annotator says of a comparison.

    Args:
        comparison: Its id.
        verdict: Which reply is better.
        annotator: Who says so: a person's name, or what the annotator calls itself.
        time: When, as ISO 8601 in UTC.
        margin: How much better, in [0, 1]. 0 where nothing was said.
        remark: Words of the annotator.
        meta: Anything else, such as the answers of a model as they came. It does not go with the pair.

    Raises:
        ValueError: If the verdict is unknown or the margin is outside [0, 1].
    """

    comparison: str
    verdict: Verdict
    annotator: str
    time: str
    margin: float = 0.0
    remark: str = ""
    meta: dict[str, Any] = field(default_factory=dict, hash=False)  # the others tell judgements apart

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict={self.verdict!r} must be one of {', '.join(VERDICTS)}.")
        if not 0 <= self.margin <= 1:
            raise ValueError(f"margin={self.margin} must be from 0 to 1.")


def read_comparisons(path: str | Path) -> list[Comparison]:
    """The comparisons of a file.

    A record holds ``prompt`` (a text or messages), ``replies`` (two), ``domain``, and where it is known ``id``,
    ``language`` and ``meta``. A record without an id is named by what it asks.

    Args:
        path: JSON lines or any other file that `internlm2_records.read_records` reads.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a record does not fit, or two have the same id. The message names file and line.
    """
    found: dict[str, Comparison] = {}
    for placed in read_records(path):
        comparison = placed.parse(partial(comparison_of, known=found))
        found[comparison.id] = comparison
    return list(found.values())


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """The JSON form of a comparison, which `read_comparisons` reads."""
    return {
        "id": comparison.id,
        "domain": comparison.domain,
        "prompt": list(comparison.prompt),
        "replies": list(comparison.replies),
        "meta": comparison.meta,
    }


def judged(comparison: Comparison, judgement: Judgement) -> Preference | None:
    """The pair that a judgement makes of a comparison. None where neither reply is better.

    Args:
        comparison: What was judged. Its ``meta`` goes with the pair, without what is for annotators alone.
        judgement: The verdict. ``meta`` of the pair says whose it is and when (``annotator``, ``time``), and what
            else was said (``score_gap``, ``remark``).
    """
    if judgement.verdict not in ("first", "second"):
        return None
    chosen, rejected = comparison.replies if judgement.verdict == "first" else comparison.replies[::-1]
    said: dict[str, Any] = {"comparison": comparison.id, "annotator": judgement.annotator, "time": judgement.time}
    if judgement.margin:
        said["score_gap"] = judgement.margin
    if judgement.remark:
        said["remark"] = judgement.remark
    meta = {name: value for name, value in comparison.meta.items() if name not in FOR_ANNOTATORS}
    return Preference(comparison.domain, comparison.prompt, chosen, rejected, judgement.annotator, meta | said)


def content_of(domain: str, prompt: Sequence[Message], replies: Sequence[Reply]) -> str:
    """A short name for what a comparison asks.

    Args:
        domain: By which preference it is judged.
        prompt: The conversation before the reply.
        replies: The two replies, in order.

    Returns:
        16 hexadecimal digits.
    """
    return sha256(repr((domain, tuple(prompt), *replies)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def preference_records(
    comparisons: Mapping[str, Comparison], judgements: Mapping[str, Judgement]
) -> list[dict[str, Any]]:
    """The pairs of all judgements that prefer one side, as `internlm2 reward` reads them.

    Args:
        comparisons: By id.
        judgements: The one that counts, by id of the comparison.
    """
    pairs = (judged(comparisons[id_], judgement) for id_, judgement in judgements.items())
    return [to_record(pair) for pair in pairs if pair is not None]


def comparison_of(record: Record, known: Collection[str] = ()) -> Comparison:
    """The comparison that a record holds, as for `read_comparisons`.

    Args:
        record: The record.
        known: Ids that are taken.

    Raises:
        KeyError: If a key is missing.
        ValueError: If something does not fit.
    """
    prompt, replies, domain = (
        tuple(with_tools(record, turns_of(record["prompt"]))),
        replies_of(record),
        record["domain"],
    )
    if len(replies) != 2:
        raise ValueError(f"replies must be two, not {len(replies)}.")
    if not isinstance(domain, str) or not domain:
        raise ValueError(f"domain={domain!r} must be the name of a condition prompt.")
    first, second = replies
    if reply_key(first) == reply_key(second):
        raise ValueError("the two replies are the same.")
    meta = ({"language": record["language"]} if record.get("language") else {}) | meta_of(record)
    id_ = str(record.get("id") or content_of(domain, prompt, replies))
    if id_ in known:
        raise ValueError(f"id={id_!r} is there twice.")
    return Comparison(id_, domain, prompt, (first, second), meta)
