r"""Whether two answers in LaTeX are spelt alike, as those of MATH are compared (Hendrycks et al. 2021, section 3).

The comparison is of texts, after what does not change a value was taken away: spaces, ``\left``, ``\dfrac`` for
``\frac``, units, degrees, dollar and percent signs, ``x=`` in front. Plain numbers and fractions are compared by value.
Other equal values that are written differently count as wrong.
"""

import re
from fractions import Fraction

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?=[{\s\\\w])")
_DROPPED = re.compile(r"\\left|\\right|\\[!,;:]|\\ |\^\{?\\circ\}?|\\%|%|\\\$|\$|\s+")
_UNITS = re.compile(r"\\(?:text|mbox|textrm|mathrm)\{\s*[^{}]*\}\s*$")


def boxed(answer: str, value: str) -> bool:
    r"""Whether the last ``\boxed{}`` of an answer holds a value. Without one, its last line is taken.

    Args:
        answer: What the model said.
        value: The right expression, in LaTeX.
    """
    found = last_boxed(answer)
    if found is None:
        found = answer.strip().rpartition("\n")[2]
    return normal(found) == normal(value)


def last_boxed(text: str) -> str | None:
    r"""What the last ``\boxed{}`` of a text holds, or None."""
    places = list(_BOXED.finditer(text))
    if not places:
        return None
    rest = text[places[-1].end() :]
    if not rest.startswith("{"):
        return rest.split("$")[0].strip()
    depth = 0
    for place, char in enumerate(rest):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return rest[1:place]
    return None


def normal(text: str) -> str:
    """An expression without what does not change its value."""
    text = text.strip().rstrip(".")
    text = _UNITS.sub("", text) or text
    text = re.sub(r"\\(?:text|mbox|textrm|mathrm|textbf)\{([^{}]*)\}", r"\1", text)
    text = _DROPPED.sub("", text.replace("dfrac", "frac").replace("tfrac", "frac"))
    text = re.sub(r"(\d),(?=\d{3}(?:\D|$))", r"\1", text)
    text = re.sub(r"^[a-zA-Z]=", "", text)
    text = re.sub(r"\\frac(\w)(\w)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt(\w)", r"\\sqrt{\1}", text)
    return _number(text)


def _number(text: str) -> str:
    """A plain number or fraction by its value."""
    fraction = re.fullmatch(r"(-?)\\frac\{(-?\d+)\}\{(-?\d+)\}", text)
    plain = f"{fraction[1]}{fraction[2]}/{fraction[3]}".replace("--", "") if fraction else text
    if re.fullmatch(r"-?\d*\.?\d+|-?\d+/\d+", plain):
        try:
            return str(Fraction(plain))
        except ZeroDivisionError:
            return text
    return text
