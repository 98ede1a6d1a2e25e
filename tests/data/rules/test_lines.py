import pytest
from internlm2_data.document import Document
from internlm2_data.page import Page
from internlm2_data.rules import CleanLines
from internlm2_data.rules.lines import line_rule
from internlm2_data.verdict import KEEP

PROSE = "This is an ordinary sentence of the page, and it is long enough to weigh more than the rest of it.\n" * 20


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("----------", "lines.separator"),
        ("* * *", "lines.separator"),
        ("12.03.2021", "lines.numeric"),
        ("1,024 likes", "lines.counter"),
        ("3 comments", "lines.counter"),
        ("1024次阅读", "lines.counter"),
        ("Read more", "lines.call_to_action"),
        ("Sign in", "lines.call_to_action"),
        ("返回顶部", "lines.call_to_action"),
        ("下一篇：春天来了", "lines.call_to_action"),
        ("Please enable JavaScript to view this page.", "lines.script_notice"),
        ("You need to have JavaScript enabled in order to use this site.", "lines.script_notice"),
        ("Sorry, JavaScript seems to be disabled in your browser.", "lines.script_notice"),
        ("您的浏览器不支持 JavaScript，请启用后再访问。", "lines.script_notice"),
        ("This website uses cookies to give you the best experience.", "lines.script_notice"),
        ("By clicking you accept our terms of use and privacy policy.", "lines.script_notice"),
        ("Home | Contact | Privacy Policy", "lines.script_notice"),
        ("A function in JavaScript is a value that you can pass on.", None),
        ("JavaScript 的数组是对象的一种，长度可以随时改变。", None),
        ("The court found that the privacy policy of the company had changed twice within a year.", None),
        ("He read more books than anyone.", None),
        ("3 men in a boat", None),
        ("这一篇文章很好。", None),
        ("--", None),
        ("A", None),
    ],
)
def test_line_rules(line, rule):
    assert line_rule(line) == rule


def judge(text, kind="webpage"):
    return CleanLines().judge([Page(Document(text, type=kind))])[0]


def test_a_few_lines_are_removed_and_counted():
    verdict = judge(PROSE + "Read more\n\n42\n43")
    assert (verdict.rule, verdict.value) == ("lines.numeric", 3)
    assert verdict.text == PROSE.strip()


def test_too_many_drop_the_page():
    verdict = judge("One sentence.\n" + "1,024 likes\n" * 5)
    assert (verdict.rule, verdict.threshold) == ("lines.counter.too_many", 0.05)
    assert verdict.value > 0.5


def test_clean_pages_and_other_types_are_kept():
    assert judge(PROSE) is KEEP
    assert judge("42", kind="code") is KEEP
