"""What tells a long text that hangs together from one that was piled up (LongWanjuan, arXiv 2402.13583)."""

import zlib

from internlm2_data.compiled.repetition import different_share
from internlm2_data.page import Page
from internlm2_data.rules.alphabet import SENTENCE_ENDS

WINDOW_WORDS = 1000
_ENGLISH = """
    especially formally because although however therefore moreover furthermore thus hence since while whereas
    nevertheless instead otherwise finally first second then also but if unless until though consequently meanwhile
    similarly likewise namely specifically indeed besides
"""
_CHINESE = """
    因为 所以 但是 然而 虽然 因此 而且 并且 不过 尤其 特别是 于是 另外 此外 同时 例如 比如 总之 首先 其次 最后 如果 那么
    即使 尽管 除非 否则 从而 以及 相反 也就是说
"""
CONNECTIVES = {"en": frozenset(_ENGLISH.split()), "zh": frozenset(_CHINESE.split())}


def connectives(page: Page) -> float:
    """Connectives per thousand words (characters in Chinese)."""
    listed = CONNECTIVES.get(page.document.language, frozenset())
    if page.document.language == "zh":
        found = sum(page.text.count(word) for word in listed)
    else:
        found = sum(word.strip(".,;:()\"'").lower() in listed for word in page.words)
    return 1000 * found / max(1, len(page.words))


def different_words(page: Page) -> float:
    """Mean share of different words in windows of 1,000 words: low where a text repeats itself."""
    return float(different_share(page.data, WINDOW_WORDS))


def compression(page: Page) -> float:
    """Compressed size as a share of the bytes: low for tables and repeated text, high for noise."""
    data = page.text.encode("utf-8", "replace")
    return len(zlib.compress(data, 6)) / max(1, len(data))


def sentence_words(page: Page) -> float:
    """Words per sentence."""
    return len(page.words) / max(1, page.count(SENTENCE_ENDS))


LONG_MEASURES = {
    "long.connectives": connectives,
    "long.different_words": different_words,
    "long.compression": compression,
    "long.sentence_words": sentence_words,
}
