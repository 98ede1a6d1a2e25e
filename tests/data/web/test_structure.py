"""Layout tables and code blocks survive extraction and cleaning."""

import pytest
from internlm2_data.document import Document
from internlm2_data.io.items import Item
from internlm2_data.page import Page
from internlm2_data.rules import CleanLines, Normalise, TableRules
from internlm2_data.stages.sieves import RuleSieve
from internlm2_data.web import Format, extractor
from internlm2_data.web.structure import is_layout
from lxml.html import fromstring

LIBRARY = (
    "The library opens at nine every morning, and it closes at six. Readers may borrow five books for two weeks. "
    "That the roof is old and lets in rain was said at every meeting of the last three years. "
)
MUSEUM = (
    "Of the museum on the other bank people know less. It has the boats of the fishermen who once lived here, and a map "
    "that was drawn before there were bridges. On Sundays a guide explains what the names of the streets mean. "
)
CODE = "def f(x):\n    if x:\n        return {\n            'a':  1,\n        }\n\n\n    return 2"


def cleaned(body):
    item = Item(f"<html><body>{body}</body></html>".encode(), html=True, record={"url": "http://a/b"})
    document, kept = Format(extractor("trafilatura")).document(item, "a.warc")
    assert kept
    ((document, kept),) = RuleSieve([Normalise(), CleanLines(), TableRules()]).judge([document], "clean")
    return document, kept


def test_a_page_in_a_table_is_kept_as_text():
    cell = f"<h1>The library</h1><p>{LIBRARY}</p><p>{MUSEUM}</p>"
    for page in (
        f"<table><tr><td>Menu<br><a href=a>Home</a></td><td>{cell}</td></tr></table>",
        f"<table><tr><td><table><tr><td>{cell}</td></tr></table></td></tr></table>",
        f"<table><tr><td>{LIBRARY}<br><br>{MUSEUM}</td></tr><tr><td>x</td></tr></table>",
    ):
        document, kept = cleaned(page)
        assert kept and "|" not in document.text, document.trail
        assert "The library opens at nine" in document.text and "Of the museum on" in document.text


def test_a_table_of_data_stays_one_and_its_bars_are_no_words():
    lent = {"Anna": "five novels", "Boris": "a map of the coast", "Chen": "nothing", "Dora": "two guides"}
    rows = "".join(f"<tr><td>{name}</td><td>{what}</td></tr>" for name, what in lent.items())
    document, kept = cleaned(
        f"<article><p>{LIBRARY}{MUSEUM}</p><table><tr><th>Name</th><th>Lent</th></tr>{rows}</table></article>"
    )
    assert kept and "| Boris | a map of the coast |" in document.text
    words = Page(Document("| Name | Lent |\n|---|---|\n| Ann - | 5 |", language="en")).words
    assert words == ["Name", "Lent", "Ann", "-", "5"]


@pytest.mark.parametrize(("table", "layout"), [
    ("<tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr>", False),
    ("<tr><td>a</td><td>b</td></tr>", True), ("<tr><td>a</td></tr><tr><td>b</td></tr>", True),
    (f"<tr><th>a</th><th>b</th></tr><tr><td>c</td><td><p>{'long ' * 80}</p></td></tr>", False),
    (f"<tr><td>a</td><td>b</td></tr><tr><td>c</td><td><p>{'long ' * 80}</p></td></tr>", True),
    (f"<tr><td>a</td><td>b</td></tr><tr><td>c</td><td>{'long ' * 80}</td></tr>", False),
])  # fmt: skip
def test_what_a_layout_table_is(table, layout):
    assert is_layout(fromstring(f"<table>{table}</table>")) is layout


@pytest.mark.parametrize("block", ["<pre>{}</pre>", "<pre><code class='language-python'>{}</code></pre>",
                                   "<div class=highlight><pre><span>{}</span></pre></div>"])  # fmt: skip
def test_code_keeps_its_white_space(block):
    document, kept = cleaned(f"<article><p>{LIBRARY}</p>{block.format(CODE)}<p>{MUSEUM}</p></article>")
    assert kept and f"```\n{CODE}\n```\n" in document.text
    assert Normalise().judge([Page(document)])[0].__class__.__name__ == "Keep"


def test_bullets_stand_before_their_text():
    items = "".join(f"<li>\n <p>{LIBRARY.replace('nine', str(n))}</p></li>" for n in range(3))
    document, _ = cleaned(f"<article><p>{MUSEUM}</p><ul>{items}</ul></article>")
    assert "\n-\n" not in document.text
