"""What the table's rules measure: functions of a page, each a number.

Names are those of the rows in `tables/text.csv`. Where a paper leaves a choice open, the docstring says
which was taken.
"""

import re
from collections.abc import Callable
from functools import partial

from internlm2_data.page import Page
from internlm2_data.rules.alphabet import (
    ABNORMAL,
    BULLETS,
    CLOSERS,
    ELLIPSES,
    HAN,
    PUNCTUATION,
    PUNCTUATION_RUN,
    SENTENCE_ENDS,
    SEPARATORS,
    STOP_WORDS_EN,
    STOP_WORDS_ZH,
)
from internlm2_data.rules.repetition import duplicate_lines, repeated_ngrams

Measure = Callable[[Page], float]
_LETTER = re.compile(r"[^\W\d_]")
_SMILEY = re.compile(r"\s[:;=]-?[()DP]$")


def share(part: float, whole: float) -> float:
    """Part / whole. 0 for nothing of nothing.

    Args:
        part: A number.
        whole: Another number.
    """
    return part / whole if whole else 0.0


def words(page: Page) -> float:
    """Number of words (characters in Chinese)."""
    return len(page.words)


def mean_word_length(page: Page) -> float:
    """Mean characters of a word."""
    return share(sum(map(len, page.words)), len(page.words))


def symbol_to_word(page: Page) -> float:
    """Hash signs and ellipses per word."""
    text = page.text
    return share(text.count("#") + text.count("...") + text.count("…"), len(page.words))


def bullet_lines(page: Page) -> float:
    """Share of lines that begin with a bullet."""
    return share(sum(line.startswith(BULLETS) for line in page.lines), len(page.lines))


def ellipsis_lines(page: Page) -> float:
    """Share of lines that end with an ellipsis."""
    return share(sum(line.endswith(ELLIPSES) for line in page.lines), len(page.lines))


def alphabetic_words(page: Page) -> float:
    """Share of words with a letter in them."""
    rest = [word for word in page.words if not word.isalpha()]
    without = sum(1 for word in rest if not _LETTER.search(word))
    return 1 - share(without, len(page.words))


def stop_words(page: Page) -> float:
    """How many different stop words occur."""
    stop = STOP_WORDS_ZH if page.document.language == "zh" else STOP_WORDS_EN
    return len(stop & page.word_set)


def sentences(page: Page) -> float:
    """Sentence ends."""
    return page.count(SENTENCE_ENDS)


def curly_brackets(page: Page) -> float:
    """Curly brackets per thousand characters. C4 drops a page at the first. Its code pages are wanted here."""
    return share(1000 * (page.text.count("{") + page.text.count("}")), len(page.text))


def lorem_ipsum(page: Page) -> float:
    """Whether the filler text occurs."""
    return float("lorem ipsum" in page.lowered)


def short_lines(page: Page) -> float:
    """Share of characters on lines of under 10 characters (5 in Chinese): menus, not sentences."""
    limit = 5 if page.document.language == "zh" else 10
    return share(sum(len(line) for line in page.lines if len(line) < limit), page.characters)


def line_breaks(page: Page) -> float:
    """Line breaks per character that is not white space."""
    return share(page.text.count("\n"), page.characters)


def separators(page: Page) -> float:
    """Share of characters that draw lines, frames and lists."""
    return share(page.count(SEPARATORS), page.characters)


def abnormal_characters(page: Page) -> float:
    """Share of characters of no writing system: replacement, private use, boxes, control pictures."""
    return 0.0 if page.text.isascii() else share(len(ABNORMAL.findall(page.text)), page.characters)


def own_script(page: Page) -> float:
    """Share of letters that belong to the document's script: Han for Chinese, Latin for English."""
    if page.document.language == "zh":
        return share(sum(n for c, n in page.counts.items() if c >= "\u3400" and HAN.match(c)), page.alphabetic)
    latin = sum(n for c, n in page.counts.items() if c < "\u0250" and c.isalpha())
    return share(latin, page.alphabetic)


def digits(page: Page) -> float:
    """Share of characters that are digits."""
    return share(sum(n for c, n in page.counts.items() if c.isdigit()), page.characters)


def punctuation(page: Page) -> float:
    """Share of characters that are punctuation marks."""
    return share(page.count(PUNCTUATION), page.characters)


def punctuation_runs(page: Page) -> float:
    """Share of characters in runs of four or more equal punctuation marks."""
    return share(sum(len(m.group()) for m in PUNCTUATION_RUN.finditer(page.text)), page.characters)


def punctuated_lines(page: Page) -> float:
    """Share of characters on lines that end a sentence, whatever smileys and bars of a table come after it."""
    ended = sum(len(line) for line in page.lines if _ends_sentence(line))
    return share(ended, sum(map(len, page.lines)))


def _ends_sentence(line: str) -> bool:
    end = line.rstrip("| ")
    if smiley := _SMILEY.search(end[-4:]):
        end = end[: smiley.start() - len(end[-4:])].rstrip()
    return end.rstrip(CLOSERS)[-1:] in SENTENCE_ENDS


TEXT_MEASURES: dict[str, Measure] = {
    "gopher.words": words,
    "gopher.mean_word_length": mean_word_length,
    "gopher.symbol_to_word": symbol_to_word,
    "gopher.bullet_lines": bullet_lines,
    "gopher.ellipsis_lines": ellipsis_lines,
    "gopher.alphabetic_words": alphabetic_words,
    "gopher.stop_words": stop_words,
    "repetition.lines": lambda page: duplicate_lines(page.lines)[0],
    "repetition.line_characters": lambda page: duplicate_lines(page.lines)[1],
    "repetition.paragraphs": lambda page: duplicate_lines(page.paragraphs)[0],
    "repetition.paragraph_characters": lambda page: duplicate_lines(page.paragraphs)[1],
    **{f"repetition.top_{n}gram": partial(repeated_ngrams, n=n) for n in (2, 3, 4)},
    **{f"repetition.duplicate_{n}gram": partial(repeated_ngrams, n=n) for n in range(5, 11)},
    "c4.sentences": sentences,
    "c4.curly_brackets": curly_brackets,
    "c4.lorem_ipsum": lorem_ipsum,
    "separators.short_lines": short_lines,
    "separators.line_breaks": line_breaks,
    "separators.share": separators,
    "characters.abnormal": abnormal_characters,
    "characters.own_script": own_script,
    "characters.digits": digits,
    "punctuation.share": punctuation,
    "punctuation.runs": punctuation_runs,
    "punctuation.lines": punctuated_lines,
}
