"""Language identification with CLD2 (report section 3.1.1), and what others call a language."""

import re
from functools import lru_cache

import langcodes
import pycld2
from langcodes.tag_parser import LanguageTagError

# CLD2 refuses control characters, surrogates and non-characters.
_REFUSED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
MAX_CHARACTERS = 100_000


def identify(text: str) -> str:
    """ISO 639-1 code of the main language, traditional Chinese included in "zh"; "und" where CLD2 cannot tell."""
    sample = text[:MAX_CHARACTERS]
    try:
        _, _, details = pycld2.detect(sample if sample.isascii() else _REFUSED.sub(" ", sample))
    except pycld2.error:
        try:
            clean = "".join(c if c.isprintable() or c == "\n" else " " for c in sample)
            _, _, details = pycld2.detect(clean.encode("utf-8", "ignore"))
        except pycld2.error:
            return "und"
    code = details[0][1]
    return "und" if code == "un" else "zh" if code.startswith("zh") else code


@lru_cache(maxsize=4096)
def language_code(name: str) -> str | None:
    """The code that `identify` gives to a language that others call by a tag or a name. None where it means nothing.

    Args:
        name: A tag of BCP 47 ("zh-CN", "eng_Latn"), an ISO 639 code ("zho", "ger"), or a name ("English", "中文").
    """
    try:
        tag = langcodes.get(name.strip())
        if not tag.is_valid() or tag.language is None:
            raise LookupError(name)
    except (LanguageTagError, LookupError):
        try:
            tag = langcodes.find(name)
        except LookupError:
            return None
    return tag.prefer_macrolanguage().language
