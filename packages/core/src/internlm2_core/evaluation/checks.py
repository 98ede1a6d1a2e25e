"""Rules by which a program decides whether an answer is right.

A record carries its rule as ``check``: ``kind`` names one below, the other keys are its arguments.

===========  ==========================================================================================
`exact`      the answer is one of ``accept``, white space at the ends and runs of it aside
`number`     the last number of the answer equals ``value``
`contains`   every string of ``all`` and, if given, one of ``any`` occurs. None of ``none`` does
`refusal`    one of ``accept`` (phrases of declining) occurs, and none of ``reject`` does
===========  ==========================================================================================
"""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")


def exact(answer: str, accept: Iterable[str]) -> bool:
    """Whether the answer is one of those accepted."""
    return squeezed(answer) in {squeezed(text) for text in accept}


def number(answer: str, value: float | str) -> bool:
    """Whether the last number of the answer has this value. 1,234 is read as 1234, in either."""
    wanted, found = Decimal(str(value).replace(",", "")), NUMBER.findall(answer)
    return bool(found) and Decimal(found[-1].replace(",", "")) == wanted


def contains(answer: str, all: Iterable[str] = (), any: Iterable[str] = (), none: Iterable[str] = ()) -> bool:
    """Whether the strings occur that must, and those that must not do not."""
    wanted = list(any)
    has_one = not wanted or has_any(answer, wanted)
    return has_one and not has_any(answer, none) and not [text for text in all if text not in answer]


def refusal(answer: str, accept: Iterable[str], reject: Iterable[str] = ()) -> bool:
    """Whether the answer declines, and does not do what was asked all the same."""
    return has_any(answer.lower(), (t.lower() for t in accept)) and not has_any(answer, reject)


CHECKS: dict[str, Callable[..., bool]] = {"exact": exact, "number": number, "contains": contains, "refusal": refusal}


def is_right(answer: str, check: Mapping[str, Any]) -> bool:
    """Apply a record's rule.

    Args:
        answer: What the model said.
        check: ``kind`` and the rule's arguments.

    Raises:
        ValueError: an unknown rule or argument. One text where a list of them belongs. A value that is no number.
    """
    arguments = dict(check)
    kind = arguments.pop("kind", None)
    if kind not in CHECKS:
        raise ValueError(f"check kind {kind!r} is none of {', '.join(CHECKS)}; write the records again.")
    for name, given in arguments.items():
        # A text would be read letter by letter.
        if name != "value" and not (isinstance(given, list | tuple) and all(isinstance(text, str) for text in given)):
            raise ValueError(f"check {dict(check)}: {name} is no list of texts; write the records again.")
    try:
        return CHECKS[kind](answer, **arguments)
    except InvalidOperation as error:
        raise ValueError(f"check {dict(check)}: value is no number; write the records again.") from error
    except TypeError as error:
        raise ValueError(f"check {dict(check)} does not fit its kind ({error}); write the records again.") from error


def squeezed(text: str) -> str:
    """Without white space at the ends, and with single spaces inside."""
    return " ".join(text.split())


def has_any(text: str, parts: Iterable[str]) -> bool:
    """Whether one of the strings occurs."""
    return any(part in text for part in parts)
