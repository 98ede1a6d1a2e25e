r"""Markdown and LaTeX of a reply as a tree that a page builds without an HTML parser.

A node is a text, or ``[tag, attributes, children]`` with a tag of `TAGS`. The page makes each with ``createElement``
and ``createTextNode``, so that nothing a model writes can become an element that is not in the tree. HTML in a reply is
text. Images and links are shown as what was written and are never fetched.

Formulas in ``$...$``, ``$$...$$``, ``\(...\)`` and ``\[...\]`` become MathML, which browsers draw by themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from html import unescape
from typing import Any
from xml.etree.ElementTree import Element

from internlm2_records import Message
from latex2mathml.converter import convert_to_element
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin

from internlm2_align.preferences.preference import Reply, as_turn

Node = str | list[Any]
"""A text, or tag, attributes and children."""

LONGEST = 50_000
"""Characters of a text that is read as Markdown. A longer one is shown as it is, since parsing takes too long."""

DEEPEST = MarkdownIt("commonmark").options["maxNesting"] - 1
"""Lists in lists and so on, beyond which the parser drops what follows. Such a text is shown as it is."""

ENVIRONMENTS = {"aligned": "align*", "alignedat": "align*", "gathered": "align*", "gather*": "align*"}
"""Environments that the library does not know, as ones that it knows and that look much the same."""

LONGEST_FORMULA = 2_000
"""Characters of a formula that is drawn. A longer one is shown as it is."""

SAME = ("blockquote", "em", "strong", "s", "table", "thead", "tbody", "tr", "hr")
"""Markdown nodes whose type is the tag."""

NAMED = {"paragraph": "p", "bullet_list": "ul", "ordered_list": "ol", "list_item": "li", "softbreak": "br"}
NAMED |= {"hardbreak": "br"}

# fmt: off
MATHML = frozenset((
    "math", "menclose", "merror", "mfenced", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mpadded",
    "mphantom", "mprescripts", "mroot", "mrow", "ms", "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup",
    "mtable", "mtd", "mtext", "mtr", "munder", "munderover", "none", "semantics",
))
MATHML_ATTRIBUTES = frozenset((
    "accent", "accentunder", "columnalign", "columnlines", "columnspacing", "depth", "display", "displaystyle",
    "fence", "form", "frame", "height", "largeop", "linethickness", "lspace", "mathvariant", "maxsize",
    "minsize", "movablelimits", "notation", "rowlines", "rowspacing", "rspace", "scriptlevel", "separator",
    "stretchy", "symmetric", "voffset", "width",
))
# fmt: on

TAGS = frozenset(SAME) | set(NAMED.values()) | MATHML | {f"h{n}" for n in range(1, 7)}
TAGS |= {"pre", "code", "th", "td", "span"}


def _display(state: StateInline, silent: bool) -> bool:
    r"""The rule for ``\[...\]`` inside a paragraph, which the plugin knows at the beginning of a line alone."""
    end = state.src.find("\\]", state.pos + 2) if state.src.startswith("\\[", state.pos) else -1
    if end < 0:
        return False
    if not silent:
        state.push("math_display", "math", 0).content = state.src[state.pos + 2 : end]
    state.pos = end + 2
    return True


MARKDOWN = (
    MarkdownIt("commonmark", {"html": False})
    .enable(["table", "strikethrough"])
    .use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True)
    .use(texmath_plugin, delimiters="brackets")
)
MARKDOWN.inline.ruler.before("escape", "math_display", _display)


def rendered(text: str) -> list[Node]:
    """A text in Markdown as a tree.

    Args:
        text: Anything that a model or a person wrote.
    """
    if len(text) > LONGEST:
        return [["pre", {}, [text]]]
    tokens = MARKDOWN.parse(text)
    if any(token.level >= DEEPEST for token in tokens):
        return [["pre", {}, [text]]]
    return _nodes(SyntaxTreeNode(tokens))


def rendered_turn(turn: Message) -> dict[str, Any]:
    """A turn as the page shows it: ``role``, ``text`` as it was written, and ``nodes``, its tree.

    A call of a tool follows the words, as code.
    """
    nodes, call = rendered(turn["content"]), turn.get("tool_call")
    if call:
        nodes = [*nodes, ["pre", {"class": "call"}, [f"{call['tool']}\n{call['content']}"]]]
    return {"role": turn["role"], "name": turn.get("name", ""), "text": turn_text(turn), "nodes": nodes}


def turn_text(turn: Message) -> str:
    """What a turn says as plain text, a call of a tool behind the words."""
    call = turn.get("tool_call")
    return f"{turn['content']}\n[{call['tool']}]\n{call['content']}".strip() if call else turn["content"]


def rendered_reply(reply: Reply) -> dict[str, Any]:
    """A reply as the page shows it, see `rendered_turn`."""
    return rendered_turn(as_turn(reply))


def _nodes(parent: SyntaxTreeNode) -> list[Node]:
    found: list[Node] = []
    for child in parent.children:
        found += _node(child)
    return found


def _node(node: SyntaxTreeNode) -> list[Node]:
    kind = node.type
    if kind in OTHERS:
        return OTHERS[kind](node)
    if kind.startswith("math"):
        return [formula(node.content, is_block="inline" not in kind or "double" in kind)]
    if kind == "paragraph" and node.hidden:
        return _nodes(node)  # Of a list whose items are not set apart.
    if kind in SAME or kind in NAMED:
        start = node.attrs.get("start")
        return [[NAMED.get(kind, kind), {} if start is None else {"start": str(start)}, _nodes(node)]]
    # A kind that no rule above knows is shown as it was written, rather than left out.
    return _nodes(node) if node.children else [node.content]


def _cell(node: SyntaxTreeNode) -> list[Node]:
    side = str(node.attrs.get("style", "")).removeprefix("text-align:")
    return [[node.type, {"class": side} if side in ("center", "right") else {}, _nodes(node)]]


def _link(node: SyntaxTreeNode) -> list[Node]:
    words, address = _nodes(node), str(node.attrs.get("href", ""))
    return words if words == [address] else [*words, ["span", {"class": "address"}, [f" ⟨{address}⟩"]]]


OTHERS: Mapping[str, Callable[[SyntaxTreeNode], list[Node]]] = {
    "inline": _nodes,
    "text": lambda node: [node.content] if node.content else [],
    "heading": lambda node: [[node.tag, {}, _nodes(node)]],
    "fence": lambda node: [["pre", {}, [["code", {}, [node.content]]]]],
    "code_block": lambda node: [["pre", {}, [["code", {}, [node.content]]]]],
    "code_inline": lambda node: [["code", {}, [node.content]]],
    "image": lambda node: [["span", {"class": "address"}, [f"![{node.content}]({node.attrs.get('src', '')})"]]],
    "link": _link,
    "th": _cell,
    "td": _cell,
}


def formula(latex: str, is_block: bool) -> Node:
    """A formula as MathML. One that cannot be read, or not in full, is shown as it was written.

    Args:
        latex: Without its dollars or brackets.
        is_block: Whether it has lines of its own.
    """
    try:
        if len(latex) > LONGEST_FORMULA:
            raise ValueError(latex)
        known = latex
        for name, other in ENVIRONMENTS.items():
            known = known.replace(f"{{{name}}}", f"{{{other}}}")
        root = convert_to_element(known, display="block" if is_block else "inline")
        if len(root.findall(".//mtable")) < known.count("\\begin"):  # An environment that the library leaves out.
            raise ValueError(latex)
        return _element(root)
    except Exception:  # The library raises whatever its parser runs into: its own errors, IndexError, KeyError.
        return ["code", {"class": "formula"}, [latex]]


def _element(element: Element) -> Node:
    tag, text = element.tag.rpartition("}")[2], unescape(element.text or "")
    # An unknown command, column or line break, which the library leaves in the text or drops.
    is_lost = text == "&" or (text.startswith("\\") and len(text) > 1) or element.get("linebreak") == "newline"
    if tag not in MATHML or is_lost:
        raise ValueError(f"{tag} {text}")
    if tag == "mi" and len(text) > 1 and text.isascii() and text.isalpha():  # log and sin, which have room around them.
        return ["mo", {"lspace": "0.17em", "rspace": "0.17em"}, [text]]
    children: Sequence[Node] = [_element(child) for child in element]
    attributes = {name: value for name, value in element.attrib.items() if name in MATHML_ATTRIBUTES}
    # The library leaves entities in its texts, for a serialiser that does not escape.
    return [tag, attributes, [text, *children] if text else list(children)]
