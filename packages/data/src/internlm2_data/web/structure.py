"""What extraction of a page's main text would lose: what tables are for, and the lines of code blocks.

Pages of the time before style sheets hold their text in tables, which an extractor writes as rows between bars. Such
tables are replaced by blocks before. In code blocks white space means something, so each of their lines is marked
before, and the block is fenced after.
"""

import re

from lxml.html import HtmlElement

MARK = "\u241e"
_MARKED = re.compile(rf"^[ \t]*(?:[-|*] *)?{MARK}(.*)$")
# A bullet whose text is on the line below.
_LONELY_BULLET = re.compile(r"^([ \t]*-)[ \t]*\n(?:[ \t]*\n)*[ \t]*(?=\S)(?!- )", re.MULTILINE)
_BLOCKS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "form", "div", "pre", "blockquote"})
_PARTS = ("table", "tbody", "thead", "tfoot", "tr", "td", "th")
LONG_CELL = 300


def mark_structure(tree: HtmlElement) -> None:
    """Replace layout tables by blocks and mark the lines of code blocks, in place.

    Args:
        tree: A page.
    """
    for table in [*tree.iter("table")]:
        if is_layout(table):
            _as_blocks(table)
    for block in [*tree.iter("pre")]:
        if not any(parent.tag == "pre" for parent in block.iterancestors()):
            _mark_lines(block)


def restored(text: str) -> str:
    """Extracted text with its code blocks between fences.

    Args:
        text: What was extracted from a tree that `mark_structure` saw.
    """
    if MARK in text:
        lines, inside = [], False
        for line in text.split("\n"):
            found = _MARKED.match(line)
            if (found is not None) != inside:
                lines.append("```")
                inside = not inside
            lines.append(found.group(1).replace(MARK, "") if found else line.replace(MARK, ""))
        text = "\n".join([*lines, "```"] if inside else lines)
    return _LONELY_BULLET.sub(r"\1 ", text)


def is_layout(table: HtmlElement) -> bool:
    """Whether a table only places things on a page: it says so, holds others or blocks of text, or has one cell a row.

    Args:
        table: The element.
    """
    if table.get("role") in ("presentation", "none") or next(table.iterdescendants("table"), None) is not None:
        return True
    rows = [[cell for cell in row if cell.tag in ("td", "th")] for row in table.iter("tr")]
    if next(table.iter("th", "caption"), None) is not None and len(rows) > 1:
        return False
    if all(len(row) < 2 for row in rows) or len(rows) < 2:
        return True
    return any(_is_block(cell) for row in rows for cell in row)


def _is_block(cell: HtmlElement) -> bool:
    long = len(cell.text_content()) > LONG_CELL
    return long and (any(child.tag in _BLOCKS for child in cell.iterdescendants()) or cell.find(".//br") is not None)


def _as_blocks(table: HtmlElement) -> None:
    """Turn a table into blocks, but none inside it."""
    pending = [table]
    while pending:
        element = pending.pop()
        pending += [child for child in element if child.tag in _PARTS[1:]]
        element.tag = "div"
        for name in ("role", "border"):
            element.attrib.pop(name, None)


def _mark_lines(block: HtmlElement) -> None:
    for br in [*block.iter("br")]:
        br.tail = "\n" + (br.tail or "")
    lines = block.text_content().expandtabs(4).strip("\n").split("\n")
    if not any(line.strip() for line in lines):
        return
    for child in [*block]:
        block.remove(child)
    block.text = "\n".join(MARK + line.rstrip() for line in lines)
