import gzip
import pickle

import numpy as np
import pytest
from internlm2_data.document import Document
from internlm2_data.page import Page
from internlm2_data.safety import DomainList, WordList, compile_domains
from internlm2_data.verdict import KEEP

LIST = """# a comment
bad.example
0.0.0.0 worse.example   # hosts format
127.0.0.1 localhost
||ads.example^
||partial.example/path
www.prefixed.example
not a domain
"""


@pytest.fixture
def domains(tmp_path):
    path = tmp_path / "list.txt.gz"
    path.write_bytes(gzip.compress(LIST.encode()))
    return path


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://bad.example/page", "bad.example"),
        ("https://deep.sub.bad.example:8080/", "bad.example"),
        ("http://notbad.example", None),
        ("http://worse.example", "worse.example"),
        ("http://x.ads.example", "ads.example"),
        ("http://partial.example/path", None),
        ("http://prefixed.example", "prefixed.example"),
        ("http://localhost/", None),
        ("http://[::1", None),
        ("BAD.EXAMPLE", "bad.example"),
        ("", None),
    ],
)
def test_domains_and_their_subdomains(domains, url, found):
    (verdict,) = DomainList([domains]).judge([Page(Document("x", url=url))])
    assert (verdict is KEEP) == (found is None)
    if found:
        assert (verdict.rule, verdict.value) == ("safety.domain", found)


def test_a_compiled_list_answers_alike_and_pickles_small(domains, tmp_path):
    assert compile_domains([domains], tmp_path / "list.npy") == 4
    compiled = pickle.loads(pickle.dumps(DomainList([tmp_path / "list.npy"])))
    assert compiled.blocked("a.bad.example") == "bad.example"
    assert compiled.blocked("good.example") is None
    assert isinstance(compiled._hashes, np.memmap)
    (tmp_path / "more.txt").write_text("more.example\n")
    both = DomainList([tmp_path / "list.npy", tmp_path / "more.txt"])
    assert [both.blocked(host) for host in ("bad.example", "more.example")] == ["bad.example", "more.example"]


def words(tmp_path, *phrases, **settings):
    path = tmp_path / "words.txt"
    path.write_text("# list\n" + "\n".join(phrases), "utf-8")
    return WordList([path], **settings)


def test_boundaries_for_letters_none_for_chinese(tmp_path):
    listed = words(tmp_path, "ass", "bad phrase", "赌场")
    assert listed.matches("assess the class, ASS! and a Bad Phrase; bad phrases") == ["ass", "bad phrase"]
    assert listed.matches("最大的线上赌场网站") == ["赌场"]


def test_frequent_and_different_words_drop_a_document(tmp_path):
    listed = words(tmp_path, "foo", "bar baz", max_per_thousand=10, min_different=2, min_matches=2)
    filler = "plain " * 95
    one, both, rare = listed.judge(
        [
            Page(Document(text, language="en"))
            for text in (filler + "foo foo foo", filler + "foo bar baz", "plain " * 999 + "foo bar baz")
        ]
    )
    assert one is KEEP and rare is KEEP
    assert (both.rule, both.value, both.threshold) == ("safety.words", pytest.approx(2000 / 98, abs=0.01), 10)


def test_a_few_matches_prove_nothing_even_in_a_short_text(tmp_path):
    listed = words(tmp_path, "one", "two", "three", "!adults only")
    texts = (
        "adults only " + "plain " * 60,
        "one two three two " + "plain " * 60,
        "one two one two one two",
        "one two three two one " + "plain " * 60,
    )
    verdicts = listed.judge([Page(Document(text, language="en")) for text in texts])
    assert [verdict is KEEP for verdict in verdicts] == [False, True, True, False]


def test_the_shipped_lists_work_after_pickling():
    listed = pickle.loads(pickle.dumps(WordList()))
    spam = Document("成人视频 激情视频 无码 " * 5, language="zh")
    fine = Document("博物馆今天开放，游客很多。" * 10, language="zh")
    assert [v is KEEP for v in listed.judge([Page(spam), Page(fine)])] == [False, True]


def test_lists_that_are_not_there():
    with pytest.raises(FileNotFoundError, match=r"is not a list of domains"):
        DomainList(["nowhere"])
    with pytest.raises(FileNotFoundError, match=r"is not a list of words"):
        WordList(["nowhere"])
