"""What of an answer counts, by the rules of the published scorer (github.com/OpenLMLab/LEval, commit cd34b05)."""

import re
from itertools import takewhile

OPTIONS = "ABCD"
NO_ANSWER = "None"
UNREADABLE = "<error>"

SPARE_WORDS = ("will be", "of the code", "is", "would be", "the value of", "the result of", "printed")
"""What is left out of an answer about printed output, in this order and inside words too."""

REPLACED = ((",", ""), ("'", ""), ("\\", ""), (".0", ""), ("] [", "]["), ("[ [", "[["), ("] ]", "]]"))
"""Spellings of the same output that become one."""


def options_of_reference(text: str) -> str:
    """Letters of a reference answer, such as ``BD`` of ``BD`` and ``B`` of ``(B) Their subconscious``."""
    return letters(text.split()[0]) or OPTIONS[0]


def single_option(answer: str) -> str:
    """The first letter of an option in an answer, inside words too. ``A`` where there is none."""
    if not answer.strip():
        return NO_ANSWER
    return answer if answer in OPTIONS else (letters(answer) or OPTIONS)[0]


def several_options(answer: str) -> str:
    """Letters of all options that an answer chooses. ``A`` where there are none.

    An answer that begins with two letters or more is those. Else every capital letter before a space, a full stop or a
    bracket counts, up to the word ``Question``. Else the first letters that follow each other, as they are written.
    """
    if not answer.strip():
        return NO_ANSWER
    if answer in OPTIONS:
        return answer
    leading = "".join(takewhile(OPTIONS.__contains__, answer))
    if len(leading) > 1:
        return unique(leading)
    rest = answer[len(leading) :].split("Question")[0]
    marked = unique(leading + letters("".join(re.findall(r"[A-Z](?=[\s.)])", rest))))
    together = re.search(f"[{OPTIONS}]+", rest)
    return marked or (together[0] if together else OPTIONS[0])


def whole_number(text: str) -> str:
    """Digits of the word after "The answer is", or of the last word with a digit in the first paragraph.

    Other characters are left out, and all that follows a decimal point is. So ``$1,234.50`` is ``1234``.
    """
    said = re.search(r"The answer is (\S+)", text)
    numbers = [word for word in text.split("\n\n")[0].split(" ") if any(map(str.isdigit, word))]
    word = said[1] if said else (numbers or [""])[-1]
    return "".join(filter(str.isdigit, word.partition(".")[0]))


def printed(text: str) -> str:
    """Output of a program in one spelling: without commas, quotes and ``.0``, brackets without spaces between them."""
    text = re.sub(r"\s+", " ", text)
    for old, new in REPLACED:
        text = text.replace(old, new)
    return text


def printed_in(answer: str, reference: str) -> str:
    """The words of an answer in which the output of a program is looked for.

    Args:
        answer: What the model said.
        reference: The output. Three more words than it has are kept: the first after "the final output", or the last.
    """
    text, count = printed(answer), len(reference.split()) + 3
    for spare in SPARE_WORDS:
        text = text.replace(spare, "")
    _, found, after = text.rpartition("the final output")
    words = re.split(r"\s+", after)  # A space at an end makes an empty word, which counts.
    return " ".join(words[:count] if found else words[-count:])


def true_or_false(answer: str) -> str:
    """``true`` or ``false``, by the first word that has one of them in it."""
    for word in answer.lower().split():
        for value in ("true", "false"):
            if value in word:
                return value
    return UNREADABLE


def letters(text: str) -> str:
    """All letters of options in a text, in order."""
    return "".join(filter(OPTIONS.__contains__, text))


def unique(text: str) -> str:
    """Its characters once each, sorted."""
    return "".join(sorted(set(text)))
