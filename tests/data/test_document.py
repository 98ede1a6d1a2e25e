import json

import pytest
from internlm2_data.document import Document
from internlm2_data.page import Page
from internlm2_data.verdict import KEEP, Drop, Rewrite, Score, apply


def test_the_id_is_of_the_content_and_survives_rewriting():
    one = Document("some text", url="http://a")
    assert one.id == Document("some text", url="http://a").id
    assert one.id != Document("some text", url="http://b").id
    assert one.id != Document("other text", url="http://a").id
    assert len(one.id) == 32
    assert one.with_text("rewritten", stage="clean").id == one.id


def test_parts_of_the_id_do_not_run_into_each_other():
    assert Document("c", source="a", dump="b").id != Document("c", source="ab", dump="").id


def test_json_and_back():
    document = Document("文本", language="zh", source="news", meta={"a": 1}).with_note(
        stage="s", rule="r", action="score"
    )
    again = Document.from_json(json.loads(json.dumps(document.to_json(), ensure_ascii=False)))
    assert again == document
    assert document.cell == "zh-news"
    assert document.num_bytes == 6


@pytest.mark.parametrize(("language", "source", "cell"), [
    ("en", "news/2020", "en-news_2020"), ("en", "../../etc", "en-__.._etc"), ("zh", "新闻", "zh-新闻"),
    ("c++", "code", "c++-code"), ("en", "fine-web.v1", "en-fine-web.v1"), ("", "a b\\c", "_-a_b_c"), ("en", "..", "en-_"),
])  # fmt: skip
def test_a_cell_is_the_name_of_a_file(language, source, cell):
    assert Document("x", language=language, source=source).cell == cell


def test_unknown_fields_go_to_meta_and_a_text_is_needed():
    assert Document.from_json({"text": "x", "stars": 5}).meta == {"stars": 5}
    with pytest.raises(ValueError, match="must have a string under the key `text`"):
        Document.from_json({"text": 3})


def test_verdicts_leave_their_trail():
    document = Document("a b")
    assert apply(KEEP, document, "clean") is document
    rewritten = apply(Rewrite("a", "lines.numeric", 1), document, "clean")
    assert (rewritten.text, rewritten.trail) == (
        "a",
        [{"stage": "clean", "rule": "lines.numeric", "value": 1, "action": "rewrite"}],
    )
    scored = apply(Score("fluency", 0.5), rewritten, "high_quality")
    dropped = apply(Drop("gopher.words", 1, 50), scored, "clean")
    assert [note["action"] for note in dropped.trail] == ["rewrite", "score", "drop"]
    assert dropped.trail[-1]["threshold"] == 50


def test_words_are_characters_in_unspaced_scripts():
    assert Page(Document("你好，world 2024！", language="zh")).words == ["你", "好", "world", "2024"]
    assert Page(Document("Hello, world!", language="en")).words == ["Hello,", "world!"]
