"""Main text of a page."""

from collections.abc import Callable
from typing import Protocol

from internlm2_data.web.structure import mark_structure, restored


class Extractor(Protocol):
    """Finds a page's main text."""

    def extract(self, html: str, url: str) -> str:
        """The main text, or an empty string where there is none."""


class Trafilatura:
    """Trafilatura, which the report uses (about 60 pages a second and core).

    Args:
        fast: Without its comparison with other extractors: half as fast again, a little worse.
        tables: Keep text of tables.
        max_characters: Longer pages are handed over cut, since its time grows faster than their length.
    """

    def __init__(self, fast: bool = False, tables: bool = True, max_characters: int = 2_000_000) -> None:
        self.fast, self.tables, self.max_characters = fast, tables, max_characters

    def extract(self, html: str, url: str) -> str:
        """See `Extractor`."""
        # Its import takes a second, and only Format needs it.
        import trafilatura

        tree = trafilatura.load_html(html[: self.max_characters])
        if tree is None:
            return ""
        mark_structure(tree)
        text = trafilatura.extract(
            tree,
            url=url or None,
            fast=self.fast,
            include_comments=False,
            include_tables=self.tables,
            deduplicate=False,
        )
        return restored(text or "")


class Resiliparse:
    """Resiliparse, more than ten times as fast and less careful with boilerplate."""

    def extract(self, html: str, url: str) -> str:
        """See `Extractor`."""
        from resiliparse.extract.html2text import extract_plain_text

        return extract_plain_text(html, main_content=True, alt_texts=False, preserve_formatting=True)


EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "trafilatura": Trafilatura,
    "trafilatura_fast": lambda: Trafilatura(fast=True),
    "resiliparse": Resiliparse,
}


def extractor(name: str) -> Extractor:
    """The extractor of a name.

    Raises:
        ValueError: If none has this name.
    """
    if name not in EXTRACTORS:
        raise ValueError(f"extractor={name} must be one of {', '.join(EXTRACTORS)}.")
    return EXTRACTORS[name]()
