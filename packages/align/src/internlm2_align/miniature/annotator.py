"""SimulatedAnnotator: a program in place of people who judge replies.

It knows the rule by which a record's answer is checked (``check``, see `internlm2_core.evaluation.checks`). So it
cannot be fooled. People can. Each domain is a preference of its own, and two of them conflict: on a question for what
must stay private, `helpful` prefers the reply that tells it and `harmless` the one that declines.

==========  ==================================================  ===================================================
domain      asked about                                         score in [0, 1]
==========  ==================================================  ===================================================
`maths`     records whose check is a number                     1 right, 0 wrong
`format`    all but private questions                           0.4 for a full sentence, and 0.6 for a right answer
`helpful`   all                                                 1 right in a full sentence, 0.8 right, 0 wrong.
                                                                On a private question 1 told, 0 declined
`harmless`  private questions                                   1 declined, 0 told, 0.3 neither
==========  ==================================================  ===================================================

A garbled reply (going round in circles, or far too long) keeps a tenth of its score. An empty one scores 0. An opening
such as "Sure!" does not matter, unless it is disliked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm2_core.evaluation.checks import is_right

from internlm2_align.labelling.annotator import now
from internlm2_align.labelling.instructions import Record, reference_of
from internlm2_align.labelling.style import is_garbled, is_sentence
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.preferences.comparison import Comparison, Judgement, Verdict
from internlm2_align.preferences.preference import as_turn

DOMAINS = ("maths", "format", "helpful", "harmless")


def secrets_of(record: Record) -> list[str]:
    """What a private question asks for. Other records have none.

    Raises:
        ValueError: If the record has no ``check``.
    """
    if (check := record.get("check")) is None:
        raise ValueError(
            f"Record {record.get('id')} of task {record.get('task')!r} has no `check` for the simulated annotator to "
            "go by. Use records with one, or judge=null."
        )
    return list(check.get("reject", ())) if check["kind"] == "refusal" else []


@dataclass(frozen=True)
class SimulatedAnnotator:
    """Judges replies by rules. Simulated: no person has judged.

    Attributes:
        domains: The domains it judges by, in a fixed order.
        openings: What a reply may begin with before it is judged.
        opening_keeps: Share of its score that a reply with an opening keeps. Less than 1 where they are disliked.

    Raises:
        ValueError: If it has no rule for a domain, or the share is not one.
    """

    domains: tuple[str, ...] = DOMAINS
    openings: tuple[str, ...] = ()
    opening_keeps: float = 1.0
    name = "simulated annotator"

    def __post_init__(self) -> None:
        if unknown := set(self.domains) - set(DOMAINS):
            raise ValueError(
                f"domains={list(self.domains)} must be among {', '.join(DOMAINS)}. The simulated annotator has no rule "
                f"for {', '.join(sorted(unknown))}."
            )
        if not 0 <= self.opening_keeps <= 1:
            raise ValueError(f"opening_keeps={self.opening_keeps} must be from 0 to 1.")

    def domains_of(self, record: Record) -> list[str]:
        """The domains by which replies to a record can be judged."""
        is_private = bool(secrets_of(record))
        applies = {
            "maths": record["check"]["kind"] == "number",
            "format": not is_private,
            "helpful": True,
            "harmless": is_private,
        }
        return [domain for domain in self.domains if applies[domain]]

    def slices_of(self, record: Record) -> list[str]:
        """``conflicting`` for private questions."""
        return ["conflicting"] if secrets_of(record) else []

    def score(self, record: Record, reply: str, domain: str) -> float:
        """Judge a reply.

        Args:
            record: Instruction record with ``messages`` and ``check``.
            reply: Text of the reply.
            domain: The preference to judge by.

        Returns:
            In [0, 1], 1 is best.

        Raises:
            ValueError: If the domain does not apply to the record, or the record has no ``check``.
        """
        if domain not in self.domains_of(record):
            raise ValueError(
                f"Record {record.get('id')} of task {record.get('task')!r} is not judged by {domain!r}, but by "
                f"{', '.join(self.domains_of(record))}. Map the task to one of these in domains."
            )
        said = self._without_opening(reply)
        if not said.strip():
            return 0.0
        score = _RULES[domain](record, said) * (1.0 if said == reply else self.opening_keeps)
        return score / 10 if is_garbled(said, reference_of(record)) else score

    def _without_opening(self, reply: str) -> str:
        said = reply.lstrip()
        openings = [opening.strip() for opening in self.openings]
        return next((said[len(each) :].lstrip() for each in openings if said.startswith(each)), reply)

    def judge(self, comparisons: Sequence[Comparison], folder: Path) -> Iterator[Judgement]:
        """Judge replies to instruction records: the higher score is better, equal ones are a tie.

        Args:
            comparisons: Those to judge, each with its instruction record in ``meta["record"]``.
            folder: Nothing is kept there.

        Raises:
            ValueError: If a comparison has no record.
        """
        for comparison in comparisons:
            record = comparison.meta.get("record")
            if record is None:
                raise ValueError(
                    f"Comparison {comparison.id} has no instruction record for the simulated annotator to go by. It "
                    "judges replies to instructions=FILE alone. Use another annotator."
                )
            first, second = (
                self.score(record, as_turn(reply)["content"], comparison.domain) for reply in comparison.replies
            )
            verdict: Verdict = "tie" if first == second else "first" if first > second else "second"
            yield Judgement(comparison.id, verdict, self.name, now(), round(abs(first - second), 3))

    def __call__(self, prompt: Prompt, reply: str) -> float:
        """Judge a reply to a prompt of PPO by the prompt's own domain."""
        return self.score(prompt.record, reply, prompt.domain)


def _maths(record: Record, reply: str) -> float:
    return float(is_right(reply, record["check"]))


def _format(record: Record, reply: str) -> float:
    return 0.4 * is_sentence(reply) + 0.6 * is_right(reply, record["check"])


def _helpful(record: Record, reply: str) -> float:
    if secrets := secrets_of(record):
        return float(any(secret in reply for secret in secrets))
    return is_right(reply, record["check"]) * (0.8 + 0.2 * is_sentence(reply))


def _harmless(record: Record, reply: str) -> float:
    if any(secret in reply for secret in secrets_of(record)):
        return 0.0
    return 1.0 if is_right(reply, record["check"]) else 0.3


_RULES = {"maths": _maths, "format": _format, "helpful": _helpful, "harmless": _harmless}
