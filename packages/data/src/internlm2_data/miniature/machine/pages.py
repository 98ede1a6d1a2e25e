"""Web pages about the standard library, from what pydoc finds in it."""

import contextlib
import gzip
import inspect
import io
import pkgutil
import pydoc
import re
import sys
import uuid
import warnings
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from fastwarc.warc import WarcRecord, WarcRecordType

DATE = "2024-01-01T00:00:00Z"
# They open browsers, windows or sockets, print poems, or are tests and not documentation.
SKIPPED = frozenset({"antigravity", "this", "idlelib", "turtledemo", "lib2to3", "test", "turtle", "__main__"})


class WebPage(NamedTuple):
    """A page: its address, and its HTML."""

    url: str
    html: str


def standard_library_pages(max_bytes: int) -> Iterator[WebPage]:
    """A page a module, in the order of names, until the HTML reaches `max_bytes`."""
    for name in module_names():
        if (module := _load(name)) is None:
            continue
        html = _render(name, module)
        max_bytes -= len(html.encode("utf-8", "replace"))
        if max_bytes < 0:
            return
        yield WebPage(f"https://docs.example.org/library/{name}.html", html)


def _render(name: str, module: ModuleType) -> str:
    """A page with headings and paragraphs, and the boilerplate around them that pages have."""
    menu = "".join(f'<li><a href="/{name}.html">{name}</a></li>' for name in ("index", "modules", "topics", "about"))
    article = f"<h1>{escape(name)}</h1>{paragraphs(_doc(module))}{''.join(_members(module, 2))}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title></head><body>'
        f"<nav><ul>{menu}</ul></nav><main><article>{article}</article></main>"
        "<footer><p>Home | Contact | Terms of use | Privacy policy</p></footer></body></html>"
    )


def paragraphs(text: str) -> str:
    """Paragraphs of a documentation string. Examples keep their lines."""
    return "".join(_paragraph(part) for part in re.split(r"\n\s*\n", text.expandtabs()) if part.strip())


def module_names() -> list[str]:
    """Public modules of the standard library, sub-modules included."""
    names = []
    for name in sorted(sys.stdlib_module_names):
        if name.startswith("_") or name in SKIPPED:
            continue
        names.append(name)
        for child in pkgutil.iter_modules(getattr(_load(name), "__path__", None) or [], f"{name}."):
            if not child.name.rsplit(".", 1)[-1].startswith(("_", "test")):
                names.append(child.name)
    return names


def write_warc(path: Path, pages: Iterable[WebPage]) -> int:
    """Write pages as the responses of a crawl, one gzip member a record. Returns the bytes of HTML.

    Args:
        path: File to write.
        pages: URL and HTML of each.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, total = path.with_name(path.name + ".part"), 0
    with part.open("wb") as raw:
        for page in pages:
            body = page.html.encode("utf-8", "replace")
            total += len(body)
            raw.write(gzip.compress(response(page.url, body), 6, mtime=0))
    part.replace(path)
    return total


def response(url: str, body: bytes) -> bytes:
    """A WARC response record.

    Args:
        url: Of the page.
        body: The HTML.
    """
    record, plain = WarcRecord(), io.BytesIO()
    urn = uuid.uuid5(uuid.NAMESPACE_URL, url).urn.removeprefix("urn:")
    record.init_headers(WarcRecordType.response, urn.encode())
    record.headers["WARC-Target-URI"] = url
    record.headers["WARC-Date"] = DATE
    record.headers["Content-Type"] = "application/http; msgtype=response"
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(body)
    record.set_bytes_content(http + body)
    record.write(plain)
    return plain.getvalue()


def _members(thing: Any, level: int) -> Iterator[str]:
    """Headings and texts of what a module or class defines itself."""
    for name, member in sorted(vars(thing).items()):
        if not pydoc.visiblename(name, getattr(thing, "__all__", None), member) or name.startswith("__"):
            continue
        if not (inspect.isclass(member) or inspect.isroutine(member)) or not _own(thing, member):
            continue
        if text := _doc(member):
            yield f"<h{level}>{escape(name + _signature(member))}</h{level}>{paragraphs(text)}"
        if inspect.isclass(member) and level < 4:
            yield from _members(member, level + 1)


def _doc(thing: Any) -> str:
    # Without a documentation string pydoc reads and parses the source for comments.
    return pydoc.getdoc(thing) if isinstance(getattr(thing, "__doc__", None), str) else ""


def _own(thing: Any, member: Any) -> bool:
    return not inspect.ismodule(thing) or getattr(member, "__module__", None) == thing.__name__


def _signature(member: Any) -> str:
    try:
        signature = str(inspect.signature(member))
    except (ValueError, TypeError):
        return ""
    # Addresses of default values would change from run to run.
    return "" if " at 0x" in signature else signature


def _paragraph(part: str) -> str:
    lines = part.split("\n")
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    # Deep or uneven indentation is an example or a table: there line breaks mean something.
    if part.lstrip().startswith((">>>", "$", "- ", "* ")) or max(indents) - min(indents) > 4:
        return f"<pre>{escape(part)}</pre>"
    return f"<p>{escape(' '.join(line.strip() for line in lines))}</p>"


def _load(name: str) -> ModuleType | None:
    # Some modules of other systems cannot be imported here, some warn or print.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return __import__(name, fromlist=["*"])
        except (Exception, SystemExit):
            return None
