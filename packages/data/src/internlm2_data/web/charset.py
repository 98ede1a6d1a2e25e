"""From bytes to text, whatever the page claims about itself.

Order of belief: a byte-order mark; the escapes of ISO 2022, or of HZ where it is declared, both plain ASCII too; UTF-8
that decodes without a fault and is not plain ASCII (no other
encoding looks like it by chance); the HTTP header; the page's own <meta>; detection by uchardet. Of these
the first that decodes without a fault is taken, else the one with the fewest. GB2312 and GBK are read as
GB18030, their superset, and Big5 with the Hong Kong additions, as browsers do.
"""

import codecs
import re

from resiliparse.parse.encoding import detect_encoding

_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE)
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_READ_AS = {
    **dict.fromkeys(("gb2312", "gbk", "gb_2312-80", "x-gbk", "cp936", "euc-cn"), "gb18030"),
    **dict.fromkeys(("big5", "big5-hkscs", "x-x-big5"), "big5hkscs"),
    **dict.fromkeys(("iso-8859-1", "latin-1", "latin1", "ascii", "us-ascii"), "cp1252"),
    "shift_jis": "cp932",
    "euc-kr": "cp949",
}
# Nearly every byte string is valid in these, so a claim of them proves nothing.
_PERMISSIVE = frozenset({"cp1252", "iso8859-15", "iso8859-9", "cp1254", "mac-roman"})


def decode(data: bytes, declared: str = "", html: bool = True) -> tuple[str, str]:
    """Text of a page, and the encoding that it was read with.

    Args:
        data: The page.
        declared: Charset of the HTTP header, if any.
        html: Whether a <meta> may declare one.
    """
    for mark, codec in _BOMS:
        if data.startswith(mark):
            return data.decode(codec, "replace"), codec
    if data.isascii() and (codec := _with_escapes(data, declared, html)):
        return data.decode(codec, "replace"), codec
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        # A page cut off in the middle of a character, or with one broken character, is still UTF-8.
        if error.start > 0.9 * len(data) and any(byte > 0x7F for byte in data[: error.start]):
            return data.decode("utf-8", "replace"), "utf-8"
    best = ("", "utf-8", len(data) + 1)
    for codec in _candidates(data, declared, html):
        text = data.decode(codec, "replace")
        faults = text.count("\ufffd")
        if not faults:
            return text, codec
        if faults < best[2]:
            best = (text, codec, faults)
    return best[0], best[1]


def _with_escapes(data: bytes, declared: str, html: bool) -> str:
    """The encoding of a page in seven bits that is not ASCII. Empty for ASCII."""
    if b"\x1b$)C" in data:
        return "iso2022_kr"
    if b"\x1b$" in data or b"\x1b(J" in data:
        return "iso2022_jp_ext"
    return "hz" if b"~{" in data and "hz" in _claims(data, declared, html) else ""


def _claims(data: bytes, declared: str, html: bool) -> list[str]:
    meta = _META.search(data[:4096]) if html else None
    return [_codec(declared), _codec(meta.group(1).decode("ascii", "replace")) if meta else ""]


def _candidates(data: bytes, declared: str, html: bool) -> list[str]:
    claims = _claims(data, declared, html)
    detected = _codec(detect_encoding(data, from_html_meta=False) or "")
    firm = [claim for claim in claims if claim and claim not in _PERMISSIVE and claim != "utf-8"]
    soft = [claim for claim in claims if claim in _PERMISSIVE]
    return list(dict.fromkeys(c for c in [*firm, detected, *soft, "utf-8", "gb18030", "cp1252"] if c))


def _codec(name: str) -> str:
    name = name.strip().lower()
    name = _READ_AS.get(name, name)
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return ""
    # base64, rot13 and the like are codecs too, but not of text.
    return codec.name if getattr(codec, "_is_text_encoding", False) else ""
