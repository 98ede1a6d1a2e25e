"""Who is asked whether a pattern is worth what the reward model pays for it.

A `Witness` gives scored replies of a domain, each with its prompt and the policy that wrote it. It may be

* an annotator's scores of the replies that are audited (`Scores.judged`),
* a second reward model's scores of them (`rescored`), or
* judgements on pairs: held-out preferences, or comparisons that people have judged (`PairLabels`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from internlm2_records import Message

from internlm2_align.online.contrasts import Floats, Gain, Ints, gain
from internlm2_align.online.replies import Reply
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.preferences.comparison import Comparison, Judgement
from internlm2_align.preferences.preference import Preference, as_turn
from internlm2_align.preferences.preference import Reply as Said
from internlm2_align.reward.scoring import Scorer


@dataclass(frozen=True)
class Evidence:
    """Replies of one domain and what somebody says of them.

    Attributes:
        texts: The replies.
        prompts: What each answers.
        policies: Who wrote it. Replies are compared only with those of the same policy to the same prompt.
        values: Its score, in units of whoever scored.
    """

    texts: Sequence[str]
    prompts: Sequence[str]
    policies: Sequence[str]
    values: Sequence[float]

    @cached_property
    def places(self) -> tuple[Ints, Ints]:
        """Number of the cell and of the prompt of each reply."""
        return _numbered([*zip(self.prompts, self.policies, strict=True)]), _numbered(self.prompts)

    def gain(self, shows: Floats, beside: Sequence[Floats] = ()) -> Gain:
        """What showing a feature is worth, inside one policy and one prompt.

        Args:
            shows: 1 for replies that show it, 0 for others, one a reply.
            beside: Columns whose own effect is taken out first.
        """
        return gain(shows, self.values, *self.places, beside)


def _numbered(keys: Sequence[Any]) -> Ints:
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


class Witness(Protocol):
    """Scores replies beside the reward model."""

    @property
    def name(self) -> str:
        """What verdicts call it."""

    def evidence(self, domain: str) -> Evidence:
        """What it says of replies in a domain. Empty if nothing."""


@dataclass(frozen=True)
class Scores:
    """Scores of replies.

    Attributes:
        name: What verdicts call the witness.
        replies: The replies.
        values: Score of each.

    Raises:
        ValueError: If there are not as many scores as replies, or one is not finite.
    """

    name: str
    replies: Sequence[Reply]
    values: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.replies):
            raise ValueError(
                f"{len(self.values)} values of the witness {self.name} must be as many as replies, {len(self.replies)}."
            )
        if bad := [place for place, value in enumerate(self.values) if not np.isfinite(value)]:
            raise ValueError(
                f"The witness {self.name} scores reply {bad[0]} with {self.values[bad[0]]}, which must be finite."
            )

    @classmethod
    def judged(cls, replies: Sequence[Reply], name: str = "annotator") -> "Scores":
        """The annotator's scores that the replies carry.

        Args:
            replies: The replies.
            name: What verdicts call the annotator.
        """
        return cls(name, replies, [reply.judged for reply in replies])

    def evidence(self, domain: str) -> Evidence:
        """What it says of replies in a domain."""
        own = [(reply, value) for reply, value in zip(self.replies, self.values, strict=True) if reply.domain == domain]
        return Evidence(
            [reply.text for reply, _ in own],
            [reply.record for reply, _ in own],
            [reply.model for reply, _ in own],
            [value for _, value in own],
        )


def rescored(
    replies: Sequence[Reply], prompts: Mapping[str, Prompt], scorer: Scorer, name: str = "second reward model"
) -> Scores:
    """A second reward model as witness.

    Args:
        replies: The replies.
        prompts: By the name that replies give them.
        scorer: Of the second model. It must not be trained on what the first one was, or it makes the same mistakes.
        name: What verdicts call it.
    """
    conversations = [[*prompts[reply.record].messages, as_turn(reply.text)] for reply in replies]
    languages = [prompts[reply.record].language for reply in replies]
    return Scores(name, replies, scorer.conversations(conversations, [reply.domain for reply in replies], languages))


VALUES: Mapping[str, tuple[float, float]] = {
    "first": (1.0, 0.0),
    "second": (0.0, 1.0),
    "tie": (0.5, 0.5),
    "both_bad": (0.5, 0.5),
}


class JudgedPair(NamedTuple):
    """Two replies to one prompt and which is better.

    Attributes:
        domain: By which preference.
        prompt: The conversation before them.
        texts: The replies.
        values: 1 for the better one, 0 for the other, 0.5 for each of two that are as good.
    """

    domain: str
    prompt: str
    texts: tuple[str, str]
    values: tuple[float, float]


@dataclass(frozen=True)
class PairLabels:
    """Judgements on pairs. A gain is the share preferred less the share rejected, from -1 to 1.

    Pairs whose two sides come from different policies say which policy is better, and not what a feature is worth.
    Where they are known to, they are left out.

    Attributes:
        pairs: The pairs.
        left_out: Pairs of different policies, and those that nobody judged.
        name: What verdicts call them.
    """

    pairs: Sequence[JudgedPair]
    left_out: int = 0
    name: str = "held-out labels"

    @classmethod
    def of(cls, preferences: Sequence[Preference], name: str = "held-out labels") -> "PairLabels":
        """Preferences that the reward model was not trained on. ``meta["origins"]`` names policies, as ``late>early``.

        Args:
            preferences: The pairs.
            name: What verdicts call them.
        """
        found = [
            JudgedPair(pair.domain, _key(pair.prompt), (_text(pair.chosen), _text(pair.rejected)), VALUES["first"])
            for pair in preferences
            if _is_one_policy(str(pair.meta.get("origins", "")).split(">"))
        ]
        return cls(found, len(preferences) - len(found), name)

    @classmethod
    def judged(
        cls, comparisons: Mapping[str, Comparison], judgements: Sequence[Judgement], name: str = "annotator"
    ) -> "PairLabels":
        """Comparisons that an annotator has judged. ``meta["models"]`` names the policies of the two replies.

        Args:
            comparisons: By id.
            judgements: Of them. Those that say ``skip`` are left out.
            name: What verdicts call the annotator.
        """
        found = []
        for judgement in judgements:
            asked = comparisons[judgement.comparison]
            if judgement.verdict in VALUES and _is_one_policy(asked.meta.get("models", ())):
                first, second = map(_text, asked.replies)
                found.append(JudgedPair(asked.domain, _key(asked.prompt), (first, second), VALUES[judgement.verdict]))
        return cls(found, len(judgements) - len(found), name)

    def evidence(self, domain: str) -> Evidence:
        """What they say of replies in a domain."""
        own = [pair for pair in self.pairs if pair.domain == domain]
        return Evidence(
            [text for pair in own for text in pair.texts],
            [pair.prompt for pair in own for _ in pair.texts],
            [f"pair {place}" for place, pair in enumerate(own) for _ in pair.texts],
            [value for pair in own for value in pair.values],
        )


def _is_one_policy(names: Sequence[str]) -> bool:
    return len(set(names)) < 2


def _key(prompt: Sequence[Message]) -> str:
    return json.dumps(prompt, ensure_ascii=False)


def _text(reply: Said) -> str:
    return str(as_turn(reply).get("content") or "")
