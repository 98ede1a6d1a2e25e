"""Markdown and LaTeX as trees of allowed tags, whatever a model writes."""

import json
import re
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from internlm2_align.people.rendered import LONGEST, MATHML, TAGS, rendered, rendered_turn


def texts(nodes):
    return "".join(node if isinstance(node, str) else texts(node[2]) for node in nodes)


def tags(nodes):
    return [tag for node in nodes if not isinstance(node, str) for tag in (node[0], *tags(node[2]))]


def test_markdown():
    text = "# Hi *you*\n\n1. a\n2. b\n\n| a | b |\n|--:|---|\n| `1` | ~~x~~ |\n\n> **q**\nnext\n\n```python\nprint('<b>')\n```"
    assert rendered(text) == [
        ["h1", {}, ["Hi ", ["em", {}, ["you"]]]],
        ["ol", {}, [["li", {}, ["a"]], ["li", {}, ["b"]]]],
        ["table", {}, [
            ["thead", {}, [["tr", {}, [["th", {"class": "right"}, ["a"]], ["th", {}, ["b"]]]]]],
            ["tbody", {}, [["tr", {}, [
                ["td", {"class": "right"}, [["code", {}, ["1"]]]], ["td", {}, [["s", {}, ["x"]]]]]]]],
        ]],
        ["blockquote", {}, [["p", {}, [["strong", {}, ["q"]], ["br", {}, []], "next"]]]],
        ["pre", {}, [["code", {}, ["print('<b>')\n"]]]],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick='x'>b</b> c",
        "[click](javascript:alert(1))",
        "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    ],
)
def test_html_and_scripts_are_text(text):
    assert rendered(text) == [["p", {}, [text]]]


def test_links_and_images_say_where_they_lead():
    assert texts(rendered("[here](https://a.org) ![cat](https://b.org/c.png) <https://d.org>")) == (
        "here ⟨https://a.org⟩ ![cat](https://b.org/c.png) https://d.org"
    )


@pytest.mark.parametrize(
    "text", ["$x^2$", r"\(x^2\)", "$$x^2$$", r"\[x^2\]", r"so \[x^2\] holds", "\\[\nx^2\n\\]", "$$\nx^2\n$$"]
)
def test_formulas_between_all_delimiters(text):
    assert {"math", "msup", "mi", "mn"} <= set(tags(rendered(text)))


def test_money_is_not_a_formula():
    assert rendered("It costs $5 and $6.") == [["p", {}, ["It costs $5 and $6."]]]


@pytest.mark.parametrize(
    "latex", [r"\frac{1}{", r"\unknown{x}", r"a & b", r"a \\ b", r"\begin{tikz} x \end{tikz}", "x" * 3000]
)
def test_a_formula_that_cannot_be_drawn_in_full_is_shown_as_written(latex):
    assert rendered(f"$${latex}$$")[0][-1][-1:] == [latex] or texts(rendered(f"$${latex}$$")) == latex


def test_lines_of_aligned_formulas_stay_lines():
    assert tags(rendered(r"\[\begin{aligned} x &= 1 \\ y &< 2 \end{aligned}\]")).count("mtr") == 2
    assert "&" not in texts(rendered("$x<y$"))


def test_long_texts_are_shown_as_they_are():
    text = "*a* " * LONGEST
    assert rendered(text) == [["pre", {}, [text]]]
    assert texts(rendered("> " * 5000 + "deep")).endswith("deep")


def test_calls_of_tools_follow_the_words():
    call = {"tool": "interpreter", "content": "print(1)"}
    shown = rendered_turn({"role": "assistant", "content": "Let me see.", "tool_call": call})
    assert shown["nodes"][-1] == ["pre", {"class": "call"}, ["interpreter\nprint(1)"]]
    assert shown["text"] == "Let me see.\n[interpreter]\nprint(1)"


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab1 \n*_`#>-|[]()<>!$\\&{}^~=:/\"'中"), max_size=60))
def test_nothing_but_allowed_tags_comes_out(text):
    nodes = rendered(text)
    assert set(tags(nodes)) <= TAGS
    json.dumps(nodes)


def test_the_page_allows_the_same_tags():
    script = files("internlm2_align.people").joinpath("page", "tree.js").read_text(encoding="utf-8")
    listed = re.findall(r'"([a-z0-9 ]+)"(?=[\s+]*(?:"|\)?\.split))', script)
    allowed = set(" ".join(listed).split())
    assert allowed == TAGS and allowed >= MATHML
