import pytest
from internlm2_data.web.charset import decode

CHINESE = "中文网页的正文，编码各不相同。今天天气很好，我们去公园散步，看见许多人在那里放风筝。" * 3
TRADITIONAL = "中文網頁的正文，編碼各不相同。今天天氣很好，我們去公園散步，看見許多人在那裡放風箏。" * 3
JAPANESE = "これは日本語の文章です。文字コードはいろいろあります。" * 3


@pytest.mark.parametrize(
    ("text", "codec"),
    [(CHINESE, "gb18030"), (CHINESE, "gbk"), (TRADITIONAL, "big5"), (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp"),
     (JAPANESE, "iso2022_jp"), (CHINESE, "utf-8"), (CHINESE, "utf-16"), (TRADITIONAL, "big5hkscs")],
)  # fmt: skip
@pytest.mark.parametrize("told", ["header", "meta", "nobody"])
def test_encodings(text, codec, told):
    html = f'<html><head><meta charset="{codec}"></head><p>{text}</p>' if told == "meta" else f"<p>{text}</p>"
    decoded, _ = decode(html.encode(codec), codec if told == "header" else "")
    assert text in decoded


KOREAN = "이것은 한국어로 쓴 글입니다. 오늘은 날씨가 좋아서 공원에 갔습니다."


def test_encodings_of_seven_bits():
    assert decode(KOREAN.encode("iso2022_kr"))[0] == KOREAN
    body = f"<p>{CHINESE}</p>".encode("hz")
    assert decode(body, "hz-gb-2312")[0] == decode(b'<meta charset="HZ-GB-2312">' + body)[0][27:] == f"<p>{CHINESE}</p>"
    shell = b"a shell script: echo ~{a,b} and ~}"
    assert decode(shell, "utf-8") == (shell.decode(), "utf-8")


def test_a_page_that_lies():
    assert decode(CHINESE.encode("gbk"), "iso-8859-1")[0] == CHINESE
    assert decode(CHINESE.encode("utf-8"), "gb2312")[0] == CHINESE
    assert decode(CHINESE.encode("gbk"), "utf-8")[0] == CHINESE
    assert decode(CHINESE.encode("gbk"), "no-such-charset")[0] == CHINESE
    assert decode(CHINESE.encode("gbk"), "base64")[0] == CHINESE


def test_western_text():
    text = "Les élèves français étaient très fatigués; ça suffit, s'il vous plaît."
    assert decode(text.encode("latin-1"), "iso-8859-1")[0] == text
    assert decode("it’s “fine”".encode("cp1252"), "iso-8859-1")[0] == "it’s “fine”"


def test_a_character_cut_in_two_at_the_end():
    data = CHINESE.encode()[:-1]
    decoded, codec = decode(data)
    assert codec == "utf-8" and decoded.startswith(CHINESE[:-2])


def test_nothing_is_too_strange():
    assert decode(b"")[0] == ""
    decode(bytes(range(256)) * 4, "utf-8")
