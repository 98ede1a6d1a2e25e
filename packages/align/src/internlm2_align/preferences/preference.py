"""Preference: one prompt, a preferred and a rejected reply, and the domain by which that was judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from internlm2_records import Message

Reply = str | Message
"""What the assistant says: a text, or a message where it calls a tool."""

OnBad = Literal["skip", "raise"]
ReplyKey = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preference:
    """One pair.

    Args:
        domain: Which preference it expresses. It names a condition prompt.
        prompt: The conversation before the reply.
        chosen: The preferred reply.
        rejected: The other reply.
        source: Where the pair comes from, such as a file or who judged.
        meta: Anything else. ``language`` picks the language of the condition prompt, ``question`` groups splits,
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

    @property
    def key(self) -> tuple[tuple[ReplyKey, ...], ReplyKey, ReplyKey]:
        """What tells prompts, chosen and rejected replies apart from others."""
        asked = tuple((turn["role"], turn.get("name", ""), *reply_key(turn)) for turn in self.prompt)
        return asked, reply_key(self.chosen), reply_key(self.rejected)

    def defect(self) -> str | None:
        """Why the pair cannot be used, as a short name for counts. None if it can."""
        prompt, chosen, rejected = self.key
        if not prompt:
            return "empty_prompt"
        if not chosen or not rejected:
            return "empty_reply"
        return "identical" if chosen == rejected else None


def as_turn(reply: Reply) -> Message:
    """A reply as the turn that it is."""
    return {"role": "assistant", "content": reply} if isinstance(reply, str) else reply


def reply_of(turns: Sequence[Message]) -> Reply:
    """The reply that is the only one of some turns. A message without a call becomes its text.

    Raises:
        ValueError: If there are other turns.
    """
    if [turn["role"] for turn in turns] != ["assistant"] or "name" in turns[0]:
        shown = ", ".join(f"{turn['role']}: {turn['content'][:40]!r}" for turn in turns) or "nothing"
        raise ValueError(f"a reply must be a text or one message of the assistant, not {shown}.")
    return turns[0] if "tool_call" in turns[0] else turns[0]["content"]


def reply_key(reply: Reply) -> ReplyKey:
    """What tells replies apart: words and call without the blanks around them. Empty where there are neither."""
    turn = as_turn(reply)
    call = turn.get("tool_call")
    words = turn["content"].strip()
    return (words, call["tool"], call["content"].strip()) if call else (words,) if words else ()


def language_in(meta: Mapping[str, Any], default: str = "en") -> str:
    """The language that the ``meta`` of a record names.

    Args:
        meta: What the record says beside the pair.
        default: The language if it names none.
    """
    return str(meta.get("language") or default)


def check_on_bad(on_bad: str) -> None:
    """Refuse a treatment of bad records that we do not know.

    Raises:
        ValueError: If it is neither ``skip`` nor ``raise``.
    """
    if on_bad not in get_args(OnBad):
        raise ValueError(f"on_bad={on_bad} must be one of {', '.join(get_args(OnBad))}.")


def to_record(pair: Preference) -> dict[str, Any]:
    """The JSON form of a pair, which format ``records`` reads."""
    return {
        "domain": pair.domain,
        "prompt": list(pair.prompt),
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "source": pair.source,
        "meta": pair.meta,
    }
