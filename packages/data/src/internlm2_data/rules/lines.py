"""Lines that are no part of a page (C4; RefinedWeb, appendix G.2): they go, and where too much goes, all goes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from internlm2_data.page import UNSPACED, Page
from internlm2_data.rules.alphabet import SEPARATORS
from internlm2_data.verdict import KEEP, Drop, Rewrite, Verdict

_COUNTER = re.compile(
    r"^\W*\d[\d.,]*\s?[kKmM万]?\s*(likes?|shares?|comments?|retweets?|reposts?|quotes?|bookmarks?|"
    r"upvotes?|downvotes?|downloads?|views?|followers?|次?(浏览|阅读|评论|转发|点赞|收藏|播放))\W*$",
    re.IGNORECASE,
)
_CALL = re.compile(
    r"^(sign[- ]?in|log ?in|sign[- ]?up|skip to (main )?content|read more|click here|share (this|on)\b.*|follow us.*|"
    r"subscribe.*|items in cart.*|(上|下)一篇.*|登录.?|注册.?|首页.?|返回顶部|点击(查看|进入|这里).{0,8}|"
    r"阅读全文.?|查看更多.?|分享到.*|扫码.{0,10}|关注我们.*)$",
    re.IGNORECASE,
)
_SCRIPT = re.compile(r"javascript|cookie policy|privacy policy|terms of use|uses cookies|use of cookies", re.IGNORECASE)
_NUMBERS = re.compile(r"^[\W\d_]+$")


def _separator(line: str, unspaced: bool) -> bool:
    return len(line) > 2 and sum(c in SEPARATORS or c == "-" for c in line) > 0.6 * len(line)


def _numeric(line: str, unspaced: bool) -> bool:
    return any(c.isdigit() for c in line) and _NUMBERS.match(line) is not None


def _counter(line: str, unspaced: bool) -> bool:
    return len(line) < 40 and _COUNTER.match(line) is not None


def _call(line: str, unspaced: bool) -> bool:
    return len(line.split()) <= 10 and len(line) < 60 and _CALL.match(line) is not None


def _script(line: str, unspaced: bool) -> bool:
    return len(line) < 200 and _SCRIPT.search(line) is not None


LINE_RULES: dict[str, Callable[[str, bool], bool]] = {
    "lines.separator": _separator,
    "lines.numeric": _numeric,
    "lines.counter": _counter,
    "lines.call_to_action": _call,
    "lines.script_notice": _script,
}


class CleanLines:
    """Removes lines by `LINE_RULES`.

    Args:
        max_removed: by document type, which share of characters may go before the whole document does; a type that
            is not named is left alone. RefinedWeb drops at 5% of words. Manuals underline their headings with lines.
    """

    def __init__(self, max_removed: Mapping[str, float] | None = None) -> None:
        self.max_removed = dict(max_removed or {"webpage": 0.05, "prose": 0.3})

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        return [self._judge(page) if page.document.type in self.max_removed else KEEP for page in pages]

    def _judge(self, page: Page) -> Verdict:
        unspaced = page.document.language in UNSPACED
        kept, removed, rules = [], 0, dict[str, int]()
        for line in page.text.split("\n"):
            stripped = line.strip()
            # Long lines are prose: none of the rules can fire.
            rule = _first_rule(stripped, unspaced) if 0 < len(stripped) < 200 else None
            if rule is None:
                kept.append(line)
            else:
                removed += len(stripped)
                rules[rule] = rules.get(rule, 0) + 1
        if not rules:
            return KEEP
        main = max(rules, key=lambda name: rules[name])
        share = removed / max(1, len(page.text))
        limit = self.max_removed[page.document.type]
        if share > limit:
            return Drop(f"{main}.too_many", round(share, 4), limit)
        return Rewrite("\n".join(kept).strip(), main, sum(rules.values()))


def _first_rule(line: str, unspaced: bool) -> str | None:
    return next((name for name, rule in LINE_RULES.items() if rule(line, unspaced)), None)
