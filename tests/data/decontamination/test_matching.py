"""Items in documents: as they are, re-wrapped, edited, in pieces, and what only looks like one."""

import gzip
import json
import random
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from internlm2_data.compiled import matching
from internlm2_data.decontamination import ItemFields, MatchSettings
from internlm2_data.decontamination.index import ItemIndex
from internlm2_data.decontamination.items import EvaluationItem, read_items
from internlm2_data.decontamination.matcher import Matcher
from internlm2_data.dedup.signing import pack

TRAINS = (
    "A train leaves Lindau at nine and reaches Bregenz eleven minutes later. How fast does it run over twelve miles?"
)
ISLANDS = "某岛上有三个村庄，南村的渔民比北村多四十人，东村的渔民是北村的两倍。三个村庄一共有多少渔民？"
FRAME = "Complete the rest of the sequence, making sure that the parentheses are closed properly. Input: "
OTHER = [f"Write a function to find the {word} of a given {thing}." for word in ("area", "sum", "peak", "mode", "rank") for thing in ("circle", "list", "heap", "matrix")]  # fmt: skip
ITEMS = [
    EvaluationItem("rail", "rail, line 1", TRAINS, ("It runs sixty five and a half miles an hour.", "65")),
    EvaluationItem("isles", "isles, line 1", ISLANDS, ("一百八十人",)),
    EvaluationItem("short", "short, line 1", "What is it made of?", ("Of basalt, pumice and obsidian glass",)),
    *(EvaluationItem("brackets", f"b {n}", FRAME + "( [ " * n) for n in range(1, 9)),
    *(EvaluationItem("code", f"c {n}", text) for n, text in enumerate(OTHER)),
]
EN_HOST = "The harbour was quiet that morning, and nobody on the pier had seen the boat that was said to be lost. "
ZH_HOST = "这座城市的图书馆建于上个世纪，馆内收藏了许多地方志和手稿，每年都有学者前来查阅资料。"


@pytest.fixture(scope="module")
def matcher():
    return Matcher(ItemIndex.of(ITEMS, MatchSettings(seeds_at_most=4)), MatchSettings(seeds_at_most=4))


def found(matcher, text):
    return [(matcher.index.items[matcher.index.parts[m.part].item].set, m) for m in matcher.find([text])[0]]


@pytest.mark.parametrize(("item", "host"), [(TRAINS, EN_HOST), (ISLANDS, ZH_HOST)])
def test_verbatim_with_its_place_in_the_text(matcher, item, host):
    text = host + item + host
    ((name, match),) = found(matcher, text)
    assert name == ("rail" if item is TRAINS else "isles") and match.exact and match.share == 1
    assert text[match.start : match.stop] == item.rstrip("?？")


def test_line_breaks_case_and_punctuation_do_not_matter(matcher):
    ((_, english),) = found(matcher, EN_HOST + TRAINS.upper().replace(" ", "\n   ").replace(".", " -") + EN_HOST)
    ((_, chinese),) = found(matcher, ZH_HOST + "\n".join(ISLANDS) + ZH_HOST)
    assert english.exact and chinese.exact


@pytest.mark.parametrize("host", [EN_HOST, ZH_HOST])
def test_any_one_word_may_be_edited_inserted_or_deleted(matcher, host):
    item = TRAINS if host is EN_HOST else ISLANDS
    places = [m.span() for m in re.finditer(r"[\u3400-\u9fff]|\w+", item)]
    for start, stop in places:
        for put in (
            "",
            "山" if host is ZH_HOST else "Konstanz",
            item[start:stop] + (" again " if host is EN_HOST else "又"),
        ):
            text = host + item[:start] + put + item[stop:] + host
            ((_, match),) = found(matcher, text)
            # Next to a border what was put in is outside.
            assert match.share >= 0.8 and (not match.exact or start in (places[0][0], places[-1][0])), (put, match)


def test_pieces_with_text_between_them(matcher):
    half = TRAINS.index("How fast")
    ((_, match),) = found(matcher, TRAINS[:half] + EN_HOST + TRAINS[half:])
    assert match.share == 1 and not match.exact
    assert found(matcher, TRAINS[:half] + EN_HOST * 40 + TRAINS[half:]) == []


def test_what_many_items_share_is_not_an_item(matcher):
    assert found(matcher, "Write a function to find the width of a given rectangle.") == []
    assert [name for name, _ in found(matcher, OTHER[5])] == []  # too light to be told from the others
    assert found(matcher, EN_HOST + "A train leaves Lindau at nine and reaches Bregenz. " + EN_HOST) == []


def test_items_of_the_same_words_are_one_part_and_are_found_however_frequent(matcher):
    ((name, match),) = found(matcher, EN_HOST + FRAME + EN_HOST)
    assert name == "brackets" and len(matcher.index.parts[match.part].items) == 8


def test_a_short_question_is_found_with_its_answer_only(matcher):
    assert found(matcher, EN_HOST + "What is it made of?" + EN_HOST) == []
    ((name, match),) = found(
        matcher, EN_HOST + "Q: What is it made of? A: of basalt, pumice and obsidian glass." + EN_HOST
    )
    assert name == "short" and match.answer and matcher.index.parts[match.part].kind == "both"


def test_question_and_answer_apart(matcher):
    assert not found(matcher, TRAINS)[0][1].answer
    assert found(matcher, TRAINS + " It runs sixty five and a half miles an hour.")[0][1].answer
    assert not found(matcher, TRAINS + EN_HOST * 20 + "It runs sixty five and a half miles an hour.")[0][1].answer


def test_full_width_letters_and_digits_count_as_narrow():
    matcher = Matcher(
        ItemIndex.of(
            [EvaluationItem("a", "1", "１２３ 加 ＡＢＣ 等于几？请写出全部的计算过程和结果")], MatchSettings()
        ),
        MatchSettings(),
    )
    assert found(matcher, "甲：123加abc等于几？请写出全部的计算过程和结果")[0][1].exact


def test_a_saved_index_finds_the_same(matcher, tmp_path):
    matcher.index.save(tmp_path)
    again = Matcher(ItemIndex.load(tmp_path), matcher.settings)
    texts = [EN_HOST + TRAINS, ISLANDS + ZH_HOST, EN_HOST, ""]
    assert again.find(texts) == matcher.find(texts) and [len(m) for m in again.find(texts)] == [1, 1, 0, 0]
    assert again.index.items == matcher.index.items and again.index.parts == matcher.index.parts


def test_a_batch_gives_what_each_text_gives(matcher):
    texts = [EN_HOST * 3 + TRAINS, TRAINS[:60], TRAINS[60:], ISLANDS, "", ZH_HOST]
    assert matcher.find(texts) == [matcher.find([text])[0] for text in texts]


WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]|[^\W_\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]+"
)


@settings(deadline=None)
@given(st.lists(st.text(alphabet="abZ1 .,-+<_中文あÉéßΣσςŸÿ１Ｂｂ。＋😀𠀀\n", max_size=30), max_size=3))
def test_words_are_those_of_a_regular_expression(texts):
    token, extents, places = matching.split(*pack(texts))
    names = {}
    for number, text in enumerate(texts):
        found = places[extents[number] : extents[number + 1]]
        assert [text.encode()[a:b].decode() for a, b in found] == WORD.findall(text)
        for word, value in zip(WORD.findall(text), token[extents[number] : extents[number + 1]], strict=True):
            # Equal up to case and width of letters: equal hashes, and no others.
            narrow = unicodedata.normalize("NFKC", word).casefold().replace("ss", "ß")
            assert names.setdefault(narrow, value) == value
    assert len(set(names.values())) == len(names)


def write(path, records):
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records), "utf-8")
    return path


def test_files_of_many_forms(tmp_path):
    files = [
        write(
            tmp_path / "choices.jsonl",
            [{"question": "Q", "answer": letter, "is_correct": letter == "c"} for letter in "abcd"],
        ),
        write(tmp_path / "turns.jsonl", [{"turns": ["first", "second"]}]),
        write(
            tmp_path / "long.jsonl", [{"instructions": ["one", "two"], "outputs": ["1", "2"], "input": "a long text"}]
        ),
        write(
            tmp_path / "chat.jsonl",
            [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}],
        ),
        write(
            tmp_path / "options.jsonl",
            [{"question": "which", "options": ["(A) x", "(B) y"], "answer": None}, {"other": 1}, 7],
        ),
        write(tmp_path / "bbh.json", [{"canary": "c", "examples": [{"input": "in", "target": "out"}]}]),
    ]
    items, faults = read_items(files, ItemFields())
    assert [(i.set, i.question, i.answers, i.options) for i in items] == [
        ("choices", "Q", ("c",), ""), ("turns", "first", (), ""), ("turns", "second", (), ""), ("long", "one", ("1",), ""),
        ("long", "two", ("2",), ""), ("chat", "hi", ("ho",), ""), ("options", "which", (), "(A) x (B) y"), ("bbh", "in", ("out",), ""),
    ]  # fmt: skip
    assert [(fault.offset, fault.what[:11]) for fault in faults] == [(2, "no question"), (3, "no question")]
    assert items[0].place == f"{tmp_path / 'choices.jsonl'}, line 1"


def test_thresholds_have_limits():
    with pytest.raises(ValueError, match=r"threshold=0\.3 must be in \[0\.5, 1\]"):
        MatchSettings(threshold=0.3)


def test_real_items_in_real_text(real_data):
    """A sample of what tests/benchmarks/data/bench_decontamination.py measures."""
    files = [real_data / "eval" / name for name in ("gsm8k/test.jsonl.gz", "AGIEval/gaokao-history.jsonl.gz")]
    items, _ = read_items(files, ItemFields())
    matcher = Matcher(ItemIndex.of(items, MatchSettings()), MatchSettings())
    with gzip.open(real_data / "pretrain/c4_demo.jsonl.gz", "rt") as file:
        hosts = [json.loads(line)["text"] for line in file]
    assert not any(matcher.find(hosts))
    chosen = random.Random(0).sample([p for p in matcher.index.parts if p.kind != "answer"], 100)
    texts = [host[:300] + "\n" + part.text + "\n" + host[300:] for host, part in zip(hosts, chosen, strict=False)]
    assert all(any(m.exact for m in matches) for matches in matcher.find(texts))
