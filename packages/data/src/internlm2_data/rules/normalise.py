"""Normalisation: mojibake, Unicode, control characters, spaces and line breaks.

Chinese punctuation stays full-width (ftfy's width folding would turn ， into ,). Only full-width Latin
letters and digits become ordinary ones.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

import ftfy
from ftfy.badness import is_bad

from internlm2_data.page import Page
from internlm2_data.rules.alphabet import CONTROL
from internlm2_data.verdict import KEEP, Rewrite, Verdict

_WIDE = {code: code - 0xFEE0 for code in [*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B)]}
_WIDE |= {0xFF05: ord("%"), 0xFF0B: ord("+"), 0xFF0E: ord(".")}
_WIDE_FOUND = re.compile("[" + "".join(map(chr, _WIDE)) + "]")
_SPACES = re.compile(r"[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_TRAILING = re.compile(r" +$", re.MULTILINE)
_BREAKS = re.compile(r"\n{3,}")
_UNCLEAN = re.compile(r"[^\S\n ]|  | \n|\n |\n\n\n")
_INNER_SPACES = re.compile(r"(?<=\S)[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
# UTF-8 read as a one-byte encoding always shows some of these. The test of ftfy test is slow on Chinese.
_SUSPECT = re.compile(
    r"[\u0080-\u00b6\u00b8-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u2039\u203a\u20ac\u2122]"
)

MAX_ROUNDS = 8
FENCE = "```"


class Normalise:
    """Rewrites a text into its normal form. A text that is in it already is kept untouched.

    Web pages lose all indentation but that of code blocks, between fences. In other documents the spaces that a line
    begins with stay, since manuals hold examples.
    """

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        return [self._judge(page) for page in pages]

    def _judge(self, page: Page) -> Verdict:
        text = normal_form(page.text, keep_indentation=page.document.type != "webpage")
        if text == page.text:
            return KEEP
        rule = "normalise.mojibake" if _was_mended(page.text, text) else "normalise.characters"
        return Rewrite(text, rule, abs(len(page.text) - len(text)))


def normal_form(text: str, keep_indentation: bool = False) -> str:
    """The normal form. Applying it twice changes nothing more.

    Args:
        text: Any text.
        keep_indentation: Whether spaces at the beginning of lines stay.
    """
    text = _once(text, keep_indentation)
    for _ in range(MAX_ROUNDS):
        # Text that was encoded wrongly twice, or with control characters in between, comes clean layer by layer.
        if not _SUSPECT.search(text) or (again := _once(text, keep_indentation)) == text:
            break
        text = again
    return text


def _once(text: str, keep_indentation: bool) -> str:
    if not text.isascii():
        text = _unicode(text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = CONTROL.sub("", text)
    if keep_indentation:
        text = _TRAILING.sub("", _INNER_SPACES.sub(" ", text.expandtabs(4)))
        return _BREAKS.sub("\n\n", text).strip("\n")
    if FENCE not in text:
        return _without_indentation(text)
    parts = [_without_indentation(part) if not code else _TRAILING.sub("", part) for code, part in fenced_parts(text)]
    return "\n".join(part for part in parts if part)


def fenced_parts(text: str) -> Iterator[tuple[bool, str]]:
    """The parts of a text in order, each with whether it is a block of code, fences included.

    Args:
        text: Whose code blocks are between lines that begin with three backticks.
    """
    lines: list[str] = []
    inside = False
    for line in text.split("\n"):
        if line.lstrip().startswith(FENCE):
            if inside:
                lines.append(line)
            if lines:
                yield inside, "\n".join(lines)
            lines = [] if inside else [line]
            inside = not inside
        else:
            lines.append(line)
    if lines:
        yield inside, "\n".join(lines)


def _without_indentation(text: str) -> str:
    if _UNCLEAN.search(text) or text[:1].isspace() or text[-1:].isspace():
        text = "\n".join(line.strip() for line in _SPACES.sub(" ", text).split("\n"))
        text = _BREAKS.sub("\n\n", text).strip()
    return text


def without_mojibake(text: str) -> str:
    """The normal form of a text that was encoded wrongly. Any other text as it is.

    Args:
        text: Any text.
    """
    return normal_form(text) if _SUSPECT.search(text) and is_bad(text) else text


def _mended(line: str) -> str:
    return ftfy.fix_encoding(line) if _SUSPECT.search(line) and is_bad(line) else line


def _was_mended(before: str, after: str) -> bool:
    return _SUSPECT.search(before) is not None and is_bad(before) and not is_bad(after)


def _unicode(text: str) -> str:
    if _SUSPECT.search(text):
        text = "\n".join(_mended(line) for line in text.split("\n"))
    text = text.encode("utf-8", "replace").decode()
    text = text.replace("\u2028", "\n").replace("\u2029", "\n").replace("\x85", "\n")
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    if _WIDE_FOUND.search(text):
        text = text.translate(_WIDE)
    return text
