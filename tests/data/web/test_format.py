import pytest
from internlm2_data.io.items import Item
from internlm2_data.web import Format, extractor
from internlm2_data.web.formatting import known_fields
from internlm2_data.web.language import identify

BODY = "The library opens at nine every morning and closes at six. Readers may borrow five books for two weeks. " * 6
ZH = "图书馆每天上午九点开门，下午六点关门。读者可以借五本书，借期两周。逾期不还的，按天收取费用。" * 8
PAGE = (
    "<html><head><title>t</title></head><body><nav><a href='/'>Home</a></nav>"
    "<article><h1>Title</h1><p>{}</p></article></body></html>"
)


@pytest.mark.parametrize("name", ["trafilatura", "trafilatura_fast", "resiliparse"])
@pytest.mark.parametrize(("text", "codec", "language"), [(BODY, "utf-8", "en"), (ZH, "gb18030", "zh")])
def test_pages_become_documents(name, text, codec, language):
    html = PAGE.format(text).encode(codec)
    item = Item(html, html=True, charset="", record={"url": "http://a/b", "date": "2020-01-02T00:00:00Z"})
    document, good = Format(extractor(name)).document(item, "x/CC-MAIN-2020-34/y.warc.gz")
    assert good and text.strip()[:60] in document.text
    assert (document.language, document.type, document.source) == (language, "webpage", "webpages")
    assert (document.dump, document.url) == ("CC-MAIN-2020-34", "http://a/b")


def test_fields_that_a_record_brings_are_kept():
    item = Item("some words", record={"language": "zh", "source": "books", "id": "77", "stars": 3, "type": "prose"})
    document, _ = Format(extractor("resiliparse")).document(item, "x.jsonl")
    assert (document.language, document.source, document.type) == ("zh", "books", "prose")
    assert document.meta == {"stars": 3, "original_id": "77"} and len(document.id) == 32


def test_a_page_without_text_is_excluded_with_the_reason():
    document, good = Format(extractor("trafilatura")).document(Item(b"<html></html>", html=True), "a.html")
    assert not good and document.trail[-1]["rule"] == "format.no_text"


def test_an_unknown_extractor_is_named():
    with pytest.raises(ValueError, match="extractor=x must be one of trafilatura"):
        extractor("x")


def test_languages():
    assert identify(ZH) == "zh"
    assert identify("圖書館每天上午九點開門，下午六點關門。讀者可以借五本書，借期兩週。" * 3) == "zh"
    assert identify(BODY) == "en"
    assert identify("Библиотека открывается каждое утро в девять часов и закрывается в шесть.") == "ru"
    assert identify("") == "und"
    assert identify("\x00\x01\ud800 ￾" + BODY) == "en"


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("zh-CN", "zh"), ("zho_Hans", "zh"), ("cmn", "zh"), ("eng_Latn", "en"), ("English", "en"), ("中文", "zh"),
        ("EN-us", "en"), ("français", "fr"), ("ger", "de"), ("zh", "zh"),
    ],
)  # fmt: skip
def test_languages_by_other_names(told, code):
    kept = known_fields({"language": told})
    assert kept["language"] == code
    assert kept["meta"] == ({} if told == code else {"language": told})


def test_a_language_that_means_nothing_is_identified():
    for told in ("n/a", "xx", "unknown", ""):
        kept = known_fields({"language": told})
        assert "language" not in kept and kept["meta"] == {"language": told}


def test_unknown_types_take_the_rules_of_prose():
    assert known_fields({"type": "news"}) == {"type": "prose", "meta": {"type": "news"}}
    assert known_fields({"type": "code", "language": "python"}) == {"type": "code", "language": "python", "meta": {}}


def test_mojibake_does_not_hide_the_language():
    text = "今天天气很好，我们去公园散步，看见许多人在那里放风筝。" * 3
    item = Item(text.encode().decode("latin-1"), record={"url": "u"})
    document, kept = Format(extractor("trafilatura")).document(item, "a.jsonl")
    assert kept and document.language == "zh" and document.text == item.content
