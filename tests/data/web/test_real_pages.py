"""The real pages of `warc/`: Common Crawl's slice with Chinese pages in GB, Dolma's samples, one page of Whirlwind."""

import pytest
from internlm2_data.io import Fault, Item, read_items
from internlm2_data.rules import CleanLines, Normalise, TableRules
from internlm2_data.safety import WordList
from internlm2_data.stages import RuleSieve
from internlm2_data.web import Format, extractor


@pytest.fixture(scope="module")
def documents(real_data):
    make = Format(extractor("trafilatura_fast"))
    found = {}
    for path in sorted((real_data / "warc").glob("*.warc.gz")):
        items = list(read_items(path))
        assert not [item for item in items if isinstance(item, Fault)], path
        found[path.name] = [make.document(item, str(path)) for item in items if isinstance(item, Item)]
    return found


def test_every_file_is_read(documents):
    counts = {name: len(found) for name, found in documents.items()}
    assert counts["dolma-sample-0000.warc.gz"] + counts["dolma-sample-0001.warc.gz"] >= 37
    assert counts["whirlwind.warc.gz"] == 1
    assert counts["cc-main-2020-34-slice.warc.gz"] == 16


def test_chinese_pages_are_read_right_whatever_their_encoding(documents):
    pages = [document for document, good in documents["cc-main-2020-34-slice.warc.gz"] if good]
    chinese = [document for document in pages if document.language == "zh"]
    assert len(chinese) >= 8
    assert {"gb18030"} <= {document.meta.get("charset", "utf-8") for document in chinese}
    assert all("\ufffd" not in document.text for document in chinese)


def test_english_pages(documents):
    english = [d for d, good in documents["dolma-sample-0000.warc.gz"] if good]
    assert sum(d.language == "en" for d in english) >= 0.8 * len(english)


def test_wet(real_data):
    (item,) = [i for i in read_items(real_data / "warc" / "whirlwind.warc.wet.gz") if isinstance(i, Item)]
    document, good = Format(extractor("resiliparse")).document(item, "a")
    assert good and document.url.startswith("http")


def test_spam_and_adult_pages_of_the_slice_go_with_reasons(documents):
    """No Chinese page of the slice is worth keeping: lotteries, adult texts, catalogues. English home pages stay."""
    sieve = RuleSieve([Normalise(), CleanLines(), TableRules(), WordList()])
    pages = [document for document, good in documents["cc-main-2020-34-slice.warc.gz"] if good]
    judged = list(sieve.judge(pages, "clean"))
    # A company's home page in a layout table.
    assert [document.url for document, kept in judged if kept] == ["http://037426.cn/"]
    assert all(document.trail[-1]["rule"] for document, kept in judged if not kept)
    home = [document for document, good in documents["dolma-sample-0000.warc.gz"] if good]
    assert sum(kept for _, kept in sieve.judge(home, "clean")) >= 0.75 * len(home)
