"""What the page asks and is answered, as JSON, without HTTP: each method of `Desk` is one path of the server.

The page knows left and right, the queue first and second reply. `Queue.first_is_left` says which is which, so that a
page can neither mix them up nor see which of them came first.
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from internlm2_records import Message

from internlm2_align.people.figures import figures
from internlm2_align.people.files import EXPORTS
from internlm2_align.people.queue import Queue
from internlm2_align.people.rendered import rendered_reply, rendered_turn
from internlm2_align.people.rows import now
from internlm2_align.people.votes import Role, Said
from internlm2_align.preferences.comparison import Comparison, Judgement, Verdict
from internlm2_align.reward.conditions import ConditionTable

LONGEST_NAME = 64
LONGEST_REMARK = 4_000
SIDES = ("left", "right")

Body = Mapping[str, Any]


class Desk:
    """Answers the page.

    Args:
        queue: What is judged.
        conditions: Condition prompts, shown with each comparison.
    """

    def __init__(self, queue: Queue, conditions: ConditionTable) -> None:
        self.queue, self.conditions = queue, conditions
        self.paths: dict[str, Callable[[Body], dict[str, Any]]] = {
            "next": self.next,
            "judge": self.judge,
            "undo": self.undo,
            "figures": lambda body: figures(self.queue),
            "export": self.export,
        }

    def next(self, body: Body) -> dict[str, Any]:
        """What an annotator is to judge.

        Args:
            body: ``annotator``, ``seat``, ``role``.

        Returns:
            ``shown``, the comparison or None, and ``progress``.
        """
        annotator, role = _annotator(body), _role(body)
        comparison = self.queue.next(annotator, _text(body, "seat"), role)
        shown = None if comparison is None else self._shown(comparison, annotator, role)
        return {"shown": shown, "progress": self.progress(annotator)}

    def judge(self, body: Body) -> dict[str, Any]:
        """Keep a verdict.

        Args:
            body: As for `next`, with ``comparison``, ``verdict`` (``left``, ``right``, ``tie``, ``both_bad`` or
                ``skip``), ``margin``, ``remark``, ``seconds``, and ``request``, which names this call.

        Returns:
            As for `next`.
        """
        annotator, role, id_ = _annotator(body), _role(body), _text(body, "comparison")
        first_is_left = self.queue.first_is_left(id_, annotator)
        verdict = _text(body, "verdict")
        if verdict in ("first", "second"):
            raise ValueError(f"verdict={verdict!r} must be left, right, tie, both_bad or skip.")
        judgement = Judgement(
            id_,
            _first_or_second(verdict, first_is_left),
            annotator,
            now(),
            _number(body, "margin") if verdict in SIDES else 0.0,
            _text(body, "remark", LONGEST_REMARK).strip(),
        )
        request = _text(body, "request")
        if not request:
            raise ValueError("request='' must name this call.")
        self.queue.judge(judgement, role, first_is_left, _number(body, "seconds"), request)
        return self.next(body)

    def undo(self, body: Body) -> dict[str, Any]:
        """Take back the last verdict of an annotator.

        Args:
            body: ``annotator``, ``seat``.

        Returns:
            As for `next`, with ``undone``: what was taken back, or None. ``role`` is what it was said as.
        """
        annotator = _annotator(body)
        said = self.queue.undo(annotator, _text(body, "seat"))
        role = _role(body) if said is None else said.role
        undone = None if said is None else self._said(said, annotator)
        return {"undone": undone, "role": role, **self.next({**body, "role": role})}

    def export(self, body: Body) -> dict[str, Any]:
        """Everything as a file.

        Args:
            body: ``format``, one of `EXPORTS`.

        Returns:
            ``name`` and ``text`` of the file.
        """
        format_ = _text(body, "format")
        if format_ not in EXPORTS:
            raise ValueError(f"format={format_!r} must be one of {', '.join(EXPORTS)}.")
        name, write = EXPORTS[format_]
        return {"name": name, "text": write(self.queue)}

    def progress(self, annotator: str) -> dict[str, Any]:
        """How far everybody is.

        Args:
            annotator: Whose own count is given.

        Returns:
            ``mine``, ``decided``, ``wanted``, ``disagreed``, and ``domains`` with the same three.
        """
        domains = {
            domain: {
                "decided": states.get("decided", 0),
                "disagreed": states.get("disagreed", 0),
                "wanted": sum(states.values()),
            }
            for domain, states in self.queue.states().items()
        }
        totals = {name: sum(each[name] for each in domains.values()) for name in ("decided", "disagreed", "wanted")}
        return {"mine": self.queue.count_of(annotator), **totals, "domains": domains}

    def _shown(self, comparison: Comparison, annotator: str, role: Role) -> dict[str, Any]:
        replies = [rendered_reply(reply) for reply in comparison.replies]
        if not self.queue.first_is_left(comparison.id, annotator):
            replies.reverse()
        condition: list[Message] = self.conditions.messages(comparison.domain, comparison.language)
        said = self.queue.said_of(comparison.id) if role == "resolution" else []
        return {
            "comparison": comparison.id,
            "role": role,
            "domain": comparison.domain,
            "language": comparison.language,
            "condition": "\n".join(turn["content"] for turn in condition),
            "prompt": [rendered_turn(turn) for turn in comparison.prompt],
            "left": replies[0],
            "right": replies[1],
            "said": [self._said(each, annotator) for each in said if each.role == "label"],
        }

    def _said(self, said: Said, annotator: str) -> dict[str, Any]:
        judgement = said.judgement
        verdict: str = judgement.verdict
        if verdict in ("first", "second"):
            is_left = (verdict == "first") == self.queue.first_is_left(judgement.comparison, annotator)
            verdict = "left" if is_left else "right"
        return {
            "annotator": judgement.annotator,
            "verdict": verdict,
            "margin": judgement.margin,
            "remark": judgement.remark,
        }


def _first_or_second(verdict: str, first_is_left: bool) -> Verdict:
    if verdict in SIDES:
        return "first" if (verdict == "left") == first_is_left else "second"
    return verdict  # type: ignore[return-value]  # `Judgement` refuses what is not a verdict.


def _text(body: Body, name: str, longest: int = 200) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > longest:
        raise ValueError(f"{name}={str(value)[:40]!r} must be a text of at most {longest} characters.")
    value.encode()  # Half of a character cannot be kept. The error is a ValueError.
    return value


def _annotator(body: Body) -> str:
    name = _text(body, "annotator", LONGEST_NAME).strip()
    if not name or not name.isprintable():
        raise ValueError(f"annotator={name!r} must be a name.")
    return name


def _role(body: Body) -> Role:
    role = _text(body, "role") or "label"
    if role not in get_args(Role):
        raise ValueError(f"role={role!r} must be one of {', '.join(get_args(Role))}.")
    return role  # type: ignore[return-value]


def _number(body: Body, name: str) -> float:
    value = body.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise ValueError(f"{name}={str(value)[:40]!r} must be a number from 0.")
    return float(value)
