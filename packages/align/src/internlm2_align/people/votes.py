"""What several people say of one comparison, and what of it counts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from internlm2_align.preferences.comparison import Judgement

Role = Literal["label", "resolution"]
"""An ordinary judgement, or the last word on a disagreement."""

State = Literal["open", "decided", "disagreed", "gold"]
"""``open`` wants more judgements. ``gold`` is a check of annotators and never becomes a pair."""


@dataclass(frozen=True, slots=True)
class Said:
    """A judgement and how it came about.

    Args:
        judgement: What was said.
        role: Why it was asked.
        first_is_left: Whether the first reply was on the left. None where no page has shown it.
        seconds: From the first look to the answer. None where it is not known.
        undone: When it was taken back or replaced by another one, as ISO 8601 in UTC. Empty while it counts.
    """

    judgement: Judgement
    role: Role = "label"
    first_is_left: bool | None = None
    seconds: float | None = None
    undone: str = ""

    @property
    def left(self) -> bool | None:
        """Whether the left reply was preferred. None where neither was, or no page has shown it."""
        if self.first_is_left is None or self.judgement.verdict not in ("first", "second"):
            return None
        return (self.judgement.verdict == "first") == self.first_is_left


def settle(said: Sequence[Said], wanted: int) -> tuple[State, Judgement | None]:
    """What counts of all that was said of a comparison and not taken back.

    A resolution counts before everything else. Without one, ``wanted`` judgements are waited for, and a verdict counts
    that more than half of the annotators gave. A skip is not a judgement.

    Args:
        said: In any order, at most one of each annotator and role.
        wanted: How many judgements are wanted.

    Returns:
        ``open``, ``decided`` or ``disagreed``, and the judgement that counts. Where several people agree, its
        annotator names them all, its margin is their mean, and its time is that of the last.
    """
    spoken = [each for each in said if each.judgement.verdict != "skip"]
    resolutions = [each.judgement for each in spoken if each.role == "resolution"]
    if resolutions:
        return "decided", max(resolutions, key=lambda judgement: judgement.time)
    votes = [each.judgement for each in spoken]
    if not votes or len(votes) < wanted:
        return "open", None
    verdict, count = Counter(vote.verdict for vote in votes).most_common(1)[0]
    if 2 * count <= len(votes):
        return "disagreed", None
    return "decided", _together([vote for vote in votes if vote.verdict == verdict])


def _together(votes: Sequence[Judgement]) -> Judgement:
    votes = sorted(votes, key=lambda vote: vote.annotator)
    if len(votes) == 1:
        return votes[0]
    return Judgement(
        comparison=votes[0].comparison,
        verdict=votes[0].verdict,
        annotator=", ".join(vote.annotator for vote in votes),
        time=max(vote.time for vote in votes),
        margin=sum(vote.margin for vote in votes) / len(votes),
        remark="\n".join(f"{vote.annotator}: {vote.remark}" for vote in votes if vote.remark),
    )
