"""The page in a real Chromium: what an annotator does, and what must not happen to what they said."""

import multiprocessing
import os
import re
import signal
import time
from pathlib import Path

import pytest
from internlm2_align.people import Queue, label_by_people
from internlm2_align.preferences.comparison import Comparison
from internlm2_align.preferences.sources import read_preferences

from tests.align.people.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")

TOKEN = "a-token"
ATTACK = (
    '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1"> [x](javascript:window.hacked=1) '
    "$\\href{javascript:window.hacked=1}{x}$"
)


class Served:
    """`label_by_people` in a process of its own."""

    def __init__(self, folder: Path, comparisons, **settings):
        self.folder, self.comparisons, self.settings, self.port = folder, comparisons, settings, 0
        self.start()

    def start(self):
        said = self.folder / f"said-{time.monotonic_ns()}"
        self.process = multiprocessing.get_context("fork").Process(target=self._serve, args=(said,))
        self.process.start()
        while not (said.is_file() and "\n" in said.read_text()):
            assert self.process.is_alive()
            time.sleep(0.01)
        self.address = said.read_text().split()[2]
        self.port = int(self.address.split(":")[2].partition("/")[0])

    def _serve(self, said):
        with said.open("w", buffering=1) as stream:
            label_by_people(
                self.comparisons, self.folder, port=self.port, token=TOKEN, say=lambda words: print(words, file=stream),
                **self.settings,
            )  # fmt: skip

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()

    def said(self):
        return [(s.judgement.comparison, s.judgement.verdict, s.judgement.annotator) for s in self.queue().judgements()]

    def queue(self):
        return Queue(self.folder)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def serve(tmp_path):
    servers = []

    def make(comparisons, **settings):
        servers.append(Served(tmp_path, comparisons, **settings))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


def signed_in(browser, server, name, beside=None, **settings):
    page = browser.page(beside, **settings)
    page.open(server.address)
    if not beside:
        page.click("#annotator")
        page.type(name)
        page.press("Enter")
    return page


def shows(page, reply):
    """Wait for a comparison by one of its replies."""
    page.until(f"document.querySelector('#replies').innerText.includes({reply!r})")


def idle(page):
    page.until("!document.querySelector('#undo').disabled")


def done(page, count):
    page.until(f"/{count} (by you|条)/.test(document.querySelector('#progress').innerText)")
    idle(page)


def test_label_undo_and_reload(browser, serve, comparisons):
    server = serve(comparisons(4))
    page = signed_in(browser, server, "ann")
    shows(page, "red 0")
    assert page.text("#condition") == "helpful Is the reply helpful?" and "Name a colour." in page.text("#prompt")
    left = page.text("#left")
    page.click("#remark")
    page.type("t b 1 warmer")  # Keys are words here.
    page.press("Escape")
    page.press("2")
    done(page, 1)
    shows(page, "red 1")
    page.press("b")
    done(page, 2)
    shows(page, "red 2")
    before = page.text("#replies")
    page.reload()
    shows(page, "red 2")
    assert page.text("#replies") == before  # The same one, the same way round.
    page.press("u")
    shows(page, "red 1")
    assert "Taken back: both bad" in page.text("#notice")
    page.press("ArrowRight")
    done(page, 2)
    shows(page, "red 2")
    page.click("[data-verdict=tie]")
    done(page, 3)
    page.press("s")
    page.until("!document.querySelector('#empty').hidden")
    said = server.queue().judgements()
    assert [(s.judgement.verdict, bool(s.undone)) for s in said[1:]] == [
        ("both_bad", True), ("first" if said[2].judgement.verdict == "first" else "second", False), ("tie", False),
        ("skip", False),
    ]  # fmt: skip
    first = said[0].judgement
    assert (first.annotator, first.margin, first.remark) == ("ann", 0.5, "t b 1 warmer")
    assert left == {"first": "red 0", "second": "blue 0"}[first.verdict]
    assert said[0].left is True and said[2].left is False and 0 < said[0].seconds < 600
    assert page.faults() == []


def test_two_annotators_and_two_tabs_at_once(browser, serve, comparisons):
    server = serve(comparisons(12))
    ann, bob = (signed_in(browser, server, name) for name in ("ann", "bob"))
    beside = signed_in(browser, server, "ann", ann)
    pages = [ann, bob, beside]
    for page in pages:
        shows(page, "red")
    shown = {re.search(r"red (\d+)", page.text("#replies"))[1] for page in pages}
    assert len(shown) == 3  # Nobody has what another one has.
    for _ in range(4):
        for page in pages:
            page.press("1")
        for page in pages:
            idle(page)
    for page in pages:
        page.until("!document.querySelector('#empty').hidden")
    said = server.said()
    assert sorted(id_ for id_, _, _ in said) == sorted(f"helpful{n}" for n in range(12))
    assert [name for _, _, name in said].count("bob") == 4
    assert server.queue().progress() == {"helpful": (12, 12)}


def test_a_killed_server_loses_nothing_and_open_pages_find_it_again(browser, serve, comparisons):
    server = serve(comparisons(3))
    page = signed_in(browser, server, "ann")
    shows(page, "red 0")
    page.press("1")
    done(page, 1)
    server.kill()
    page.press("7")
    page.until("document.querySelector('#notice').innerText.includes('Not saved yet')")
    assert [id_ for id_, _, _ in server.said()] == ["helpful0"]
    page.call("Page.reload")  # Nothing is there to be loaded. What was pressed is still in the tab.
    server.start()
    page.open(server.address)
    done(page, 2)
    shows(page, "red 2")
    assert [id_ for id_, _, _ in server.said()] == ["helpful0", "helpful1"]
    assert server.queue().judgements()[1].judgement.margin == 1.0


def test_a_wrong_token_shows_nothing(browser, serve, comparisons):
    server = serve(comparisons(1))
    page = browser.page()
    page.open(server.address.replace(TOKEN, "another"))
    page.click("#annotator")
    page.type("eve")
    page.press("Enter")
    page.until("document.querySelector('#notice').innerText.includes('The token is wrong')")
    assert "red" not in page.js("document.body.innerText") and page.js("location.hash") == ""
    page.press("1")
    assert server.said() == []


def test_what_models_write_is_text(browser, serve):
    asked = ({"role": "user", "content": ATTACK},)
    server = serve([Comparison("x", "helpful", asked, (ATTACK, "fine"), {})])
    page = signed_in(browser, server, "ann")
    shows(page, "<script>")
    for where in ("#prompt", "#replies"):
        assert "<script>window.hacked = 1</script><img src=x" in page.text(where)
    for selector in ("main script", "main img", "main a", "main [href]", "main [onerror]"):
        assert page.js(f"document.querySelectorAll('{selector}').length") == 0
    page.press("v")
    assert "[x](javascript:window.hacked=1)" in page.text("#replies")
    # The policy itself: a script that got in would not run, and HTML from a text is refused.
    page.js("(() => { const s = document.createElement('div'); document.body.append(s); return 1; })()")
    with pytest.raises(RuntimeError, match="TrustedHTML"):
        page.js("document.body.innerHTML = '<b>x</b>'")
    assert page.js("window.hacked === undefined")


def test_markdown_and_formulas_are_drawn(browser, serve):
    replies = ("**bold** $\\frac{1}{2}$\n\n```\ncode\n```", "plain")
    server = serve([Comparison("x", "maths", ({"role": "user", "content": "1/2?"},), replies, {"language": "zh"})])
    page = signed_in(browser, server, "ann", language="zh-CN")
    shows(page, "bold")
    assert page.text("#condition") == "maths 结果正确吗？" and "左边更好" in page.text("#replies")
    for selector in ("strong", "math mfrac", "pre code"):
        assert page.js(f"document.querySelectorAll('#replies {selector}').length") == 1
    box = page.js("(() => { const [a, b] = document.querySelectorAll('mfrac > *'); "
                  "return b.getBoundingClientRect().top - a.getBoundingClientRect().top; })()")  # fmt: skip
    assert box > 3  # One above the other.
    page.click("#language")
    page.until("document.querySelector('#replies').innerText.includes('Left is better')")
    page.reload()
    shows(page, "bold")
    assert page.text("[data-view=figures]") == "Figures"
    page.click("#raw")
    assert "**bold** $\\frac{1}{2}$" in page.text("#replies")


def test_disagreements_figures_and_files(browser, serve, comparisons, says, tmp_path):
    server = serve(comparisons(2), annotators_per=2)
    for name, verdict in (("ann", "first"), ("bob", "second")):
        server.queue().judge(says(name, "helpful0", verdict, remark=f"by {name}"))
        server.queue().judge(says(name, "helpful1"))
    page = signed_in(browser, server, "cleo")
    page.until("document.querySelector('#disagreed').innerText === '1'")
    page.click("[data-view=resolution]")
    shows(page, "red 0")
    assert "by ann" in page.text("#said") and "by bob" in page.text("#said")
    page.press("4")
    page.until("!document.querySelector('#empty').hidden")
    assert server.queue().decided()["helpful0"].verdict == "tie"
    page.click("[data-view=figures]")
    page.until("document.querySelectorAll('#table table').length === 3")
    browser.call(
        "Browser.setDownloadBehavior", behavior="allow", browserContextId=page.context, downloadPath=str(tmp_path)
    )
    page.click("#table .files button")
    while not (tmp_path / "preferences.jsonl").is_file():
        time.sleep(0.02)
    assert [pair.chosen for pair in read_preferences(tmp_path / "preferences.jsonl")] == ["red 1"]
    assert "ann, bob" in page.text("#table") and "helpful\t2\t0\t0\t2" in page.text("#table")
    assert page.faults() == []


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(browser, serve, width):
    long = (
        "x" * 400
        + "\n\n```\n"
        + "y" * 400
        + "\n```\n\n| "
        + " | ".join("z" * 30 for _ in range(9))
        + " |\n"
        + "|-" * 9
        + "|"
    )
    server = serve(
        [Comparison("x", "code", ({"role": "user", "content": long},), (long, "$$" + "a+" * 200 + "a$$"), {})]
    )
    page = signed_in(browser, server, "ann")
    page.size(width, 800, mobile=width < 500)
    shows(page, "xxx")
    assert page.js("document.documentElement.scrollWidth") <= width
    assert page.js("[...document.querySelectorAll('footer button')].every(b => b.scrollWidth <= b.clientWidth + 1)")
