"""What a file is about, in a sentence that its author wrote or that names what it defines.

The report lets a model describe files for long conversations about code (section 4.3). Rules stand in for it here:
anything that takes files and returns a sentence for each may take their place.
"""

import ast
import re
import warnings
from collections.abc import Callable, Sequence

from internlm2_data.code.languages import DATA, DOCUMENTATION
from internlm2_data.document import Document

Describe = Callable[[Sequence[Document]], Sequence[str]]
MAX_CHARACTERS = 300
MAX_NAMES = 5
_COMMENT = re.compile(r"\s*(?:/\*+(.*?)\*/|((?:(?://|#(?!!)|--|;|%)[^\n]*\n?[ \t]*)+))", re.DOTALL)
_MARKS = re.compile(r"^[ \t]*(?://+!?|#+|--+|;+|%+|\*+)[ \t]?", re.MULTILINE)
_LEGAL = re.compile(r"copyright|licen[cs]e|spdx|all rights reserved|coding[:=]", re.IGNORECASE)
_DEFINED = re.compile(
    r"^(?:export |default |pub |public |static |async |abstract |final |open |internal )*"
    r"(?:class|def|func|fn|function|struct|enum|interface|trait|type|object|module|protocol)[ \t]+([A-Za-z_]\w*)",
    re.MULTILINE,
)
_HEADING = re.compile(r"^#{1,3}[ \t]+(\S[^\n]*)|^(\S[^\n]*)\n(?:=|-|~){3,}[ \t]*$", re.MULTILINE)
_SENTENCE = re.compile(r".+?[.!?](?=\s|$)", re.DOTALL)


def describe_by_rule(files: Sequence[Document]) -> list[str]:
    """A sentence for each file: its docstring's or first comment's first one, otherwise the names that it defines."""
    return [_described(file) for file in files]


def _described(file: Document) -> str:
    if file.language in DOCUMENTATION:
        found = _HEADING.search(file.text)
        return f"Documentation: {found.group(1) or found.group(2)}." if found else "Documentation."
    said = (_docstring(file.text) if file.language == "python" else "") or _comment(file.text)
    if said:
        sentence = _SENTENCE.match(said)
        return " ".join((sentence.group() if sentence else said).split())[:MAX_CHARACTERS]
    names = [] if file.language in DATA else list(dict.fromkeys(_DEFINED.findall(file.text)))[:MAX_NAMES]
    if not names:
        return f"A file of {file.language}, {len(file.text.splitlines())} lines."
    return f"Defines {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}."


def _docstring(text: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return (ast.get_docstring(ast.parse(text)) or "").strip()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def _comment(text: str) -> str:
    """The first comment that is not of the licence."""
    text = text.split("\n", 1)[-1] if text.startswith("#!") else text
    while found := _COMMENT.match(text):
        said = _MARKS.sub("", found.group(1) or found.group(2)).strip()
        if said and not _LEGAL.search(said):
            return said
        text = text[found.end() :]
    return ""
