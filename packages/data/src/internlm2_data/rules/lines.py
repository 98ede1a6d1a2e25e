"""Lines that are not part of a page (C4, and RefinedWeb, appendix G.2): they go, and where too much goes, all goes."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from internlm2_data.page import Page
from internlm2_data.rules.normalise import FENCE, fenced_parts
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
# Notices, not every line that names these things: there are pages about JavaScript, cookies and privacy too.
_SCRIPT = re.compile(
    r"(enabl|disabl|activat|allow|turn|switch|requir|need|support|without|please|must have)\w*\b.{0,40}javascript|"
    r"javascript.{0,40}\b((is|was|be|been|has been|seems to be) (not |currently )?"
    r"(enabled|disabled|required|needed|off|turned off|blocked|supported)|enabled|disabled|must be)|"
    r"(启用|开启|打开|启动|禁用|禁止|关闭|支持|需要).{0,12}javascript|javascript.{0,12}(被?禁用|未启用|未开启|没有启用|关闭|功能)|"
    r"(we|site|website|page|service) uses? (of )?cookies|uses? of cookies|"
    r"(accept|agree|read|see|view|review|with|by|under) (to )?(our|the|these|its) (.{0,30} (and|&) )?"
    r"(cookie policy|privacy policy|terms of use)|"
    r"^\W*(.{0,25}\W)?(cookie policy|privacy policy|terms of use)(\W.{0,25})?$",
    re.IGNORECASE,
)
# Most pages hold none of these, and to look for them once costs less than in every line.
_SCRIPT_WORDS = ("javascript", "cookie", "privacy policy", "terms of use")
_NO_LETTER = re.compile(r"[\W\d_]+$")
_DIGIT = re.compile(r"\d")
SHORT, MEDIUM = 60, 200


class CleanLines:
    """Removes lines of navigation and decoration.

    Args:
        max_removed: By document type, which share of characters may go before the whole document does. A type that
            is not named is left alone. RefinedWeb drops at 5% of words. Manuals underline their headings with lines.
    """

    def __init__(self, max_removed: Mapping[str, float] | None = None) -> None:
        self.max_removed = dict(max_removed or {"webpage": 0.05, "prose": 0.3})

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        return [self._judge(page) if page.document.type in self.max_removed else KEEP for page in pages]

    def _judge(self, page: Page) -> Verdict:
        scripts = any(word in page.lowered for word in _SCRIPT_WORDS)
        kept, removed, rules = [], 0, Counter[str]()
        for code, line in _with_code(page.text):
            rule = line_rule(line.strip(), scripts) if 0 < len(line) < MEDIUM and not code else None
            if rule is None:
                kept.append(line)
            else:
                removed += len(line)
                rules[rule] += 1
        if not rules:
            return KEEP
        main = max(sorted(rules), key=lambda name: rules[name])
        share, limit = removed / len(page.text), self.max_removed[page.document.type]
        if share > limit:
            return Drop(f"{main}.too_many", round(share, 4), limit)
        return Rewrite("\n".join(kept).strip(), main, rules.total())


def _with_code(text: str) -> Iterator[tuple[bool, str]]:
    """Lines, each with whether it is one of a code block. A lonely bracket there is not decoration."""
    if FENCE not in text:
        yield from ((False, line) for line in text.split("\n"))
        return
    for code, part in fenced_parts(text):
        yield from ((code, line) for line in part.split("\n"))


def line_rule(line: str, scripts: bool = True) -> str | None:
    """The rule by which a line goes, None if it stays.

    Args:
        line: Without white space around it, under 200 characters (longer lines are prose).
        scripts: Whether the page speaks of scripts and cookies at all.
    """
    if _NO_LETTER.match(line):
        if _DIGIT.search(line):
            return "lines.numeric"
        return "lines.separator" if len(line) > 2 else None
    if len(line) < SHORT:
        if _COUNTER.match(line):
            return "lines.counter"
        if _CALL.match(line):
            return "lines.call_to_action"
    return "lines.script_notice" if scripts and _SCRIPT.search(line) else None
