"""The Format stage."""

import re
from dataclasses import dataclass
from typing import Any

from internlm2_data.document import CODE_TYPES, FIELDS, TYPES, Document
from internlm2_data.io.items import Item
from internlm2_data.rules.normalise import without_mojibake
from internlm2_data.verdict import Drop, apply
from internlm2_data.web.charset import decode
from internlm2_data.web.extract import Extractor
from internlm2_data.web.language import identify, language_code

_DUMP = re.compile(r"CC-MAIN-\d{4}-\d{2}", re.IGNORECASE)


@dataclass(frozen=True)
class Format:
    """Makes typed documents of items.

    Attributes:
        extractor: Finds the main text of HTML.
        source: `Document.source` of items that do not say.
        dump: `Document.dump` of items that do not say and whose file name does not either.
        min_characters: Shorter texts are excluded.
    """

    extractor: Extractor
    source: str = "webpages"
    dump: str = ""
    min_characters: int = 1

    def document(self, item: Item, file: str) -> tuple[Document, bool]:
        """The document of an item, and whether it is kept (else its trail says why not)."""
        record = known_fields(item.record)
        text, charset = item.content, ""
        if isinstance(text, bytes):
            text, charset = decode(text, item.charset, item.html)
        if item.html:
            text = self.extractor.extract(text, str(record.get("url", ""))).strip() if text.strip() else ""
            record.setdefault("type", "webpage")
        if charset not in ("", "utf-8"):
            record["meta"] = {**record.get("meta", {}), "charset": charset}
        record.setdefault("source", self.source)
        dump = _DUMP.search(file)
        record.setdefault("dump", self.dump or (dump.group().upper() if dump else ""))
        # Normalise mends the text itself, after this. What language it is in shows only then.
        record.setdefault("language", identify(without_mojibake(text)))
        document = Document(text=text, **record)
        if len(text) < self.min_characters:
            reason = Drop("format.no_text", len(text), self.min_characters)
            return apply(reason, document, "format"), False
        return document, True


def known_fields(record: dict[str, Any]) -> dict[str, Any]:
    """The record's fields under a document's names and with their values. What has no place of its own goes to `meta`.

    Rules go by type and language. A type that they do not know becomes "prose", a language by another tag or name
    its code, and what means none is left to be identified. Both words stay in `meta`.
    """
    kept = {k: str(v) for k, v in record.items() if k in FIELDS and k not in ("id", "text", "meta", "trail")}
    meta = record.get("meta")
    other = {k: v for k, v in record.items() if k not in FIELDS}
    if isinstance(record.get("id"), str | int):
        other["original_id"] = record["id"]
    if kept.get("type", "webpage") not in TYPES:
        other["type"], kept["type"] = kept["type"], "prose"
    if "language" in kept and kept.get("type") not in CODE_TYPES and kept["language"] != "und":
        code, told = language_code(kept["language"]), kept.pop("language")
        if code != told:
            other["language"] = told
        if code:
            kept["language"] = code
    return {**kept, "meta": {**(meta if isinstance(meta, dict) else {}), **other}}
