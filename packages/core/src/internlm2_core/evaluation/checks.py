r"""Rules by which a program decides whether an answer is right.

A record carries its rule as ``check``: ``kind`` names one below, the other keys are its arguments.

===========  ==========================================================================================
`exact`      the answer is one of ``accept``, apart from white space at the ends and runs of it
`number`     the last number of the answer equals ``value``
`contains`   every string of ``all`` and, if given, one of ``any`` occurs, and none of ``none``
`boxed`      the last ``\boxed{}`` of the answer holds ``value``, an expression in LaTeX
`refusal`    one of ``accept`` (phrases of declining) occurs, and none of ``reject``
===========  ==========================================================================================
"""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from internlm2_core.evaluation.expressions import boxed

NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")


def exact(answer: str, accept: Iterable[str]) -> bool:
    """Whether the answer is one of those accepted.

    Args:
        answer: What the model said.
        accept: Right answers.
    """
    return squeezed(answer) in {squeezed(text) for text in accept}


def number(answer: str, value: float | str) -> bool:
    """Whether the last number of the answer has this value. In both, 1,234 is read as 1234.

    Args:
        answer: What the model said.
        value: The right number.
    """
    wanted, found = Decimal(str(value).replace(",", "")), NUMBER.findall(answer)
    return bool(found) and Decimal(found[-1].replace(",", "")) == wanted


def contains(answer: str, all: Iterable[str] = (), any: Iterable[str] = (), none: Iterable[str] = ()) -> bool:
    """Whether the strings occur that must, and none that must not.

    Args:
        answer: What the model said.
        all: Strings that must all occur.
        any: Strings of which one must occur, if there are some.
        none: Strings that must not occur.
    """
    wanted = list(any)
    has_one = not wanted or has_any(answer, wanted)
    return has_one and not has_any(answer, none) and not [text for text in all if text not in answer]


def refusal(answer: str, accept: Iterable[str], reject: Iterable[str] = ()) -> bool:
    """Whether the answer declines, and does not do what was asked after all.

    Args:
        answer: What the model said.
        accept: Phrases of declining, in lower case or not.
        reject: Strings that it should keep back.
    """
    return has_any(answer.lower(), (t.lower() for t in accept)) and not has_any(answer, reject)


CHECKS: dict[str, Callable[..., bool]] = {
    "exact": exact, "number": number, "contains": contains, "boxed": boxed, "refusal": refusal
}  # fmt: skip


def is_right(answer: str, check: Mapping[str, Any]) -> bool:
    """Apply a record's rule.

    Args:
        answer: What the model said.
        check: ``kind`` and the rule's arguments.

    Raises:
        ValueError: If the rule or an argument is not known, or a value is not of its kind.
    """
    arguments = dict(check)
    kind = arguments.pop("kind", None)
    if kind not in CHECKS:
        raise ValueError(f"kind={kind!r} of a check must be one of {', '.join(CHECKS)}.")
    for name, given in arguments.items():
        # A text would be read letter by letter.
        if name != "value" and not (isinstance(given, list | tuple) and all(isinstance(text, str) for text in given)):
            raise ValueError(f"check={dict(check)}: {name} must be a list of texts.")
    try:
        return CHECKS[kind](answer, **arguments)
    except InvalidOperation as error:
        raise ValueError(f"check={dict(check)}: value must be a number.") from error
    except TypeError as error:
        raise ValueError(f"check={dict(check)} does not fit its kind ({error}).") from error


def squeezed(text: str) -> str:
    """Without white space at the ends, and with single spaces inside."""
    return " ".join(text.split())


def has_any(text: str, parts: Iterable[str]) -> bool:
    """Whether one of the strings occurs.

    Args:
        text: Where it is looked for.
        parts: The strings.
    """
    return any(part in text for part in parts)
