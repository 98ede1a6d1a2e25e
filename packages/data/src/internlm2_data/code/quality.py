"""Quality of code in three classes: high is read more than once, moderate once, low not at all (report section 3.1.2).

The class of each file is noted in its trail. A repository has the class of most of its bytes in ``meta.quality``, and
the score of each file in ``meta.scores``. Each class has token files of its own, and the loader is told how often to
read them.

The rules here look at what a person sees at a glance: comments, names, length of lines and functions. A learned
scorer (`code.scorer`) may come before them. What it has judged they leave alone.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any

from internlm2_data.code.languages import DATA, DOCUMENTATION
from internlm2_data.document import QUALITIES, Document
from internlm2_data.page import Page
from internlm2_data.verdict import KEEP, Drop, Score, Verdict

_COMMENT = re.compile(r"^\s*(#|//|/\*|\*|--|;|%|\"\"\"|''')")
_NAME = re.compile(r"\b[A-Za-z_]\w*\b")
_LITERAL = re.compile(r"^[\s\d.,xXa-fA-F'\"()\[\]{}:+-]*$")
HIGH, LOW = 0.6, 0.2
COMMON = (
    "python", "c", "cpp", "csharp", "java", "javascript", "typescript", "go", "rust", "php", "ruby", "kotlin", "swift",
    "scala", "html", "css", "shell", "sql",
)  # fmt: skip
"""Languages of which there is more code than a corpus needs. Of others, low files are kept."""
RULE = "code.quality_"
"""How the names of these rules begin. The class follows."""


class CodeQuality:
    """Scores files from 0 to 1 and drops those below `low`, except of languages of which there is little.

    Args:
        low: Below it the class is low.
        high: From it on the class is high.
        common: Languages whose low files go. Those of others are moderate.
    """

    def __init__(self, low: float = LOW, high: float = HIGH, common: Collection[str] = COMMON) -> None:
        self.low, self.high, self.common = low, high, frozenset(common)

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        return [self._judge(page) for page in pages]

    def _judge(self, page: Page) -> Verdict:
        if any(note["rule"].startswith(RULE) for note in page.document.trail):
            return KEEP
        value = round(quality(page), 3)
        if value < self.low and page.document.language in self.common:
            return Drop(f"{RULE}low", value, self.low)
        return Score(f"{RULE}high" if value >= self.high else f"{RULE}moderate", value)


def quality_of(files: Sequence[Document]) -> dict[str, Any]:
    """What a repository notes in its ``meta``: the class that most of its bytes are of, and the scores of its files.

    Empty where no rule has judged one. Files whose language the learned scorer does not know have a class and no score.

    Args:
        files: Its files.
    """
    scores, sizes = {}, dict.fromkeys(QUALITIES, 0)
    for file in files:
        for note in file.trail:
            name = note["rule"].removeprefix(RULE)
            if note["action"] == "score" and name in sizes:
                sizes[name] += file.num_bytes
                if not isinstance(note["value"], str):
                    scores[file.meta["path"]] = note["value"]
    return {"quality": max(QUALITIES, key=lambda name: sizes[name]), "scores": scores} if any(sizes.values()) else {}


def quality(page: Page) -> float:
    """A score from 0 to 1. Documentation and data files, of which the rules know nothing, get 0.5."""
    if page.document.language in DOCUMENTATION | DATA or not page.lines:
        return 0.5
    lines = page.lines
    comments = sum(bool(_COMMENT.match(line)) for line in lines) / len(lines)
    literals = sum(bool(_LITERAL.match(line)) for line in lines) / len(lines)
    names = _NAME.findall(page.text[:100_000])
    long_names = sum(len(name) > 2 for name in names) / max(1, len(names))
    commented = min(1.0, comments / 0.1) if comments < 0.7 else 0.3
    return 0.35 * commented + 0.35 * long_names + 0.3 * (1 - literals) if literals < 0.6 else 0.1
