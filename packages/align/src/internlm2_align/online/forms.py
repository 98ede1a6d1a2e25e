"""What can be seen of a reply by rules: script, Markdown, the form of its answer, refusal, going round in circles."""

import re
from collections import Counter, deque
from collections.abc import Callable, Mapping

from internlm2_align.labelling.style import repeats

SCRIPTS = {
    "han": re.compile(r"[一-鿿]"),
    "kana": re.compile(r"[぀-ヿ]+"),
    "hangul": re.compile(r"[가-힯]+"),
    "latin": re.compile(r"[A-Za-zÀ-ɏ]+"),
    "cyrillic": re.compile(r"[Ѐ-ӿ]+"),
    "arabic": re.compile(r"[؀-ۿ]+"),
    "devanagari": re.compile(r"[ऀ-ॿ]+"),
}
"""A character of Chinese counts as a word."""

FORMATS = {
    "list": re.compile(r"^[ \t]*[-*+•] +\S", re.M),
    "numbered list": re.compile(r"^[ \t]*\d+(?:[.)] +|、 *)\S", re.M),
    "heading": re.compile(r"^#{1,6} +\S", re.M),
    "bold": re.compile(r"\*\*[^\s*][^*\n]*\*\*"),
    "code block": re.compile(r"^[ \t]*```", re.M),
    "table": re.compile(r"^[ \t]*\|[ \t]*:?-+:?[ \t]*\|", re.M),
    "latex": re.compile(r"\$(?!\s)[^$\n]*[^$\s]\$(?!\d)|\\[(\[]|\\boxed\{|\\begin\{|\\frac\{"),
    "emoji": re.compile(r"[\U0001F300-\U0001FAFF☀-➿]"),
    "paragraphs": re.compile(r"\S[ \t]*\n[ \t]*\n\s*\S"),
}

CHOICE = re.compile(
    r"(?:(?i:answer|option|choice|choose)|答案|选项|选择|应选|选)[^A-Za-z\n]{0,6}(?i:is|was|为|是)?[^A-Za-z\n]{0,6}"
    r"([A-E])(?![A-Za-z])|\A\W{0,3}([A-E])\W{0,3}\Z|\A\(?([A-E])[).:：、]"
)
NUMBER = re.compile(r"(\\boxed\{)?-?\d[\d,]*(\.\d+)?(\s*/\s*\d+)?(\s*%)?")
REFUSAL = re.compile(
    r"(?i)\b(?:i(?:'m| am) (?:sorry|unable|not able)|sorry\b|i (?:can(?:'t|not|’t)|won't|must decline)|as an ai)"
    r"|抱歉|对不起|我不能|我无法|无法提供|作为一个?(?:人工智能|AI)"
)


def language(text: str) -> str:
    """The script that a reply is written in, ``mixed`` if a quarter is in another one, or ``none``."""
    counts = Counter({name: len(script.findall(text)) for name, script in SCRIPTS.items()})
    (first, most), (_, second) = counts.most_common(2)
    if not most:
        return "none"
    return "mixed" if second > 0.25 * (most + second) else first


def formats(text: str) -> set[str]:
    """The parts of Markdown that a reply uses."""
    return {name for name, form in FORMATS.items() if form.search(text)}


def choice(text: str) -> str:
    """The letter that a reply chooses last, A to E, or ``none``."""
    letter = "none"
    for match in CHOICE.finditer(text.strip()):
        letter = match[1] or match[2] or match[3]
    return letter


def number(text: str) -> str:
    """The form of a reply's last number: ``integer``, ``decimal``, ``fraction``, ``percent``, ``boxed`` or ``none``."""
    found = deque(NUMBER.finditer(text), maxlen=1)
    if not found:
        return "none"
    last = found[0]
    named = zip(("boxed", "percent", "fraction", "decimal"), (last[1], last[4], last[3], last[2]), strict=True)
    return next((name for name, part in named if part), "integer")


def refusal(text: str) -> set[str]:
    """``{""}`` for a reply that declines in its first 80 characters."""
    return {""} if REFUSAL.search(text.strip()[:80]) else set()


FORMS: Mapping[str, Callable[[str], set[str]]] = {
    "language": lambda text: {language(text)},
    "format": formats,
    "choice": lambda text: {choice(text)} - {"none"},
    "number": lambda text: {number(text)},
    "refusal": refusal,
    "repeats": lambda text: {""} if repeats(text) else set(),
}
"""By kind of feature: the values that a reply shows."""
