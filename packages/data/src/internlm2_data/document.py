"""The record that travels through every stage.

One JSON object a line: id, text, source, language, type, url, dump, date, meta, trail. `source` is the kind
of text of the report's table 1 (webpages, techlit, books, code); `language-source` ("zh-webpages") names a
cell of that table. `trail` lists what was done to the document: rewrites, scores, and for an excluded
document, last, why it was dropped.
"""

import hashlib
import re
from dataclasses import dataclass, field, fields, replace
from typing import Any

CODE_TYPES = ("code", "repository")
TYPES = ("webpage", "prose", *CODE_TYPES)
QUALITIES = ("high", "moderate", "low")
"""Classes of quality, in ``meta.quality`` where a document has one (report section 3.1.2)."""
_UNSAFE = re.compile(r"[^\w+.-]+|^\.+")


@dataclass(frozen=True, slots=True)
class Document:
    """A document.

    Attributes:
        text: Its text.
        source: Webpages, techlit, books, code, ... (a free word).
        language: ISO 639-1 code, "und" where unknown. For code the programming language.
        type: Which rules and thresholds apply, one of `TYPES`.
        url: Where it comes from. May be empty.
        dump: The crawl that it was in. Later dumps sort after earlier ones.
        date: ISO 8601 date or time of its capture. May be empty.
        meta: Anything else that the source knows.
        trail: What the stages did to it.
        id: 32 hex digits of BLAKE2b over where it comes from and its first text. Survives rewriting.
    """

    text: str
    source: str = "webpages"
    language: str = "und"
    type: str = "webpage"
    url: str = ""
    dump: str = ""
    date: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    trail: list[dict[str, Any]] = field(default_factory=list)
    id: str = ""

    def __post_init__(self) -> None:
        """Name a document that has no name yet."""
        if not self.id:
            object.__setattr__(self, "id", content_id(self.source, self.dump, self.url, self.text))

    @property
    def cell(self) -> str:
        """Its cell in table 1 of the report, for example "zh-webpages".

        Token files are named by it, so whatever cannot be in a file's name is a line below: "en-news_2020".
        """
        return "-".join(_UNSAFE.sub("_", part) or "_" for part in (self.language, self.source))

    @property
    def quality(self) -> str:
        """Its class of quality, empty where it has none."""
        told = self.meta.get("quality")
        return told if told in QUALITIES else ""

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of its text."""
        return len(self.text) if self.text.isascii() else len(self.text.encode("utf-8", "surrogatepass"))

    def with_text(self, text: str, **note: Any) -> "Document":
        """The document with another text and a note of that in its trail."""
        return replace(self, text=text, trail=[*self.trail, note])

    def with_note(self, **note: Any) -> "Document":
        """The document with one more note in its trail."""
        return replace(self, trail=[*self.trail, note])

    def to_json(self) -> dict[str, Any]:
        """Its fields, empty ones left out."""
        record = {name: getattr(self, name) for name in FIELDS}
        return {name: value for name, value in record.items() if value or name in ("id", "text")}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Document":
        """Read what `to_json` wrote. Fields that are not known go into `meta`.

        Raises:
            ValueError: If it lacks a text.
        """
        if not isinstance(record.get("text"), str):
            raise ValueError("A document must have a string under the key `text`.")
        known = {name: record[name] for name in FIELDS if name in record}
        other = {name: value for name, value in record.items() if name not in FIELDS}
        if other:
            known["meta"] = {**known.get("meta", {}), **other}
        return cls(**known)


FIELDS = ("id", *(f.name for f in fields(Document) if f.name != "id"))


def content_id(*parts: str) -> str:
    """32 hex digits of BLAKE2b over the parts."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
