"""Quality of code in three classes: high is read more than once, moderate once, low not at all (report section 3.1.2).

The rules here look at what a person sees at a glance: comments, names, length of lines and functions. A learned
scorer may join them as one more rule.
"""

import re
from collections.abc import Sequence

from internlm2_data.code.languages import DATA, DOCUMENTATION
from internlm2_data.page import Page
from internlm2_data.verdict import Drop, Score, Verdict

_COMMENT = re.compile(r"^\s*(#|//|/\*|\*|--|;|%|\"\"\"|''')")
_NAME = re.compile(r"\b[A-Za-z_]\w*\b")
_LITERAL = re.compile(r"^[\s\d.,xXa-fA-F'\"()\[\]{}:+-]*$")
HIGH, LOW = 0.6, 0.2


class CodeQuality:
    """Scores files from 0 to 1 and drops those below `low`.

    Args:
        low: Below it the class is low.
        high: From it on the class is high.
    """

    def __init__(self, low: float = LOW, high: float = HIGH) -> None:
        self.low, self.high = low, high

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        return [self._judge(page) for page in pages]

    def _judge(self, page: Page) -> Verdict:
        value = round(quality(page), 3)
        if value < self.low:
            return Drop("code.quality_low", value, self.low)
        return Score("code.quality_high" if value >= self.high else "code.quality_moderate", value)


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
