import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from internlm2_data.document import Document
from internlm2_data.page import Page
from internlm2_data.rules import Normalise
from internlm2_data.rules.normalise import normal_form
from internlm2_data.verdict import KEEP


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain text stays\n\nas it is", "plain text stays\n\nas it is"),
        ("a\u00a0b\u2003c\td", "a b c d"),
        ("a  \n  b\r\nc\rd", "a\nb\nc\nd"),
        ("a\n\n\n\nb", "a\n\nb"),
        ("zero\u200bwidth\ufeff \x07bell\x00", "zerowidth bell"),
        ("cafe\u0301", "café"),
        ("schÃ¶n â€œquotedâ€\x9d", "schön “quoted”"),
        ("全角１２３ＡＢｃ，标点。不变！", "全角123ABc，标点。不变！"),
        ("中文　全角空格", "中文 全角空格"),
        ("naïve “quotes” — fine…", "naïve “quotes” — fine…"),
        ("lone \ud800 surrogate", "lone ? surrogate"),
    ],
)
def test_normal_form(raw, clean):
    assert normal_form(raw) == clean


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_twice_is_once(text):
    for keep in (False, True):
        once = normal_form(text, keep)
        assert normal_form(once, keep) == once


def test_indentation_stays_outside_of_web_pages():
    text = "Example::\n\n    if x:\n        return  1\n"
    (page_verdict,) = Normalise().judge([Page(Document(text, type="webpage"))])
    (prose_verdict,) = Normalise().judge([Page(Document(text, type="prose"))])
    assert page_verdict.text == "Example::\n\nif x:\nreturn 1"
    assert prose_verdict.text == "Example::\n\n    if x:\n        return 1"


def test_verdicts():
    clean, mojibake = Normalise().judge([Page(Document("fine")), Page(Document("trÃ¨s bien, merci Ã  tous"))])
    assert clean is KEEP
    assert (mojibake.rule, mojibake.text) == ("normalise.mojibake", "très bien, merci à tous")
