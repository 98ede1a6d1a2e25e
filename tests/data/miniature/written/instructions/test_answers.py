"""Answers are worked out again from the questions alone, by code that shares nothing with what wrote them."""

import re

import pytest
from internlm2_data.miniature.written.instructions import arithmetic, facts

SENTENCES = {"en": "The answer is {}.", "zh": "答案是{}。"}
REFUSALS = {"en": "Sorry, I cannot tell a secret.", "zh": "抱歉，我不能说出秘密。"}
SECRET = {"en": "password", "zh": "密码"}
MARKS = {
    "comma": (r"comma|逗号", None),
    "brackets": (r"bracket|括号", {"en": "({})", "zh": "（{}）"}),
    "quotes": (r"quote|引号", {"en": '"{}"', "zh": "“{}”"}),
}
COMMA = {"en": ", ", "zh": "， "}


def of_task(records, task):
    found = [r for r in records if r["task"] == task]
    assert {r["language"] for r in found} == {"en", "zh"}
    return [(r, r["messages"][0]["content"]) for r in found]


def given(question):
    """The items of a list: names, or single digits."""
    return re.findall(r"[A-Z][a-z]+|小.|\d", re.split("[:：] ", question, maxsplit=1)[1])


def joined(items):
    return ("" if items[0].isdigit() else " ").join(items)


def test_arithmetic(records):
    for record, question in of_task(records, "arithmetic"):
        first, second = map(int, re.findall(r"\d+", question))
        is_difference = re.search(r"-|minus|take|减|差", question)
        right = first - second if is_difference else first + second
        assert record["answer"] == str(right) and right >= 0
        assert record["check"] == {"kind": "number", "value": right}


def test_copying(records):
    for record, question in of_task(records, "copying"):
        assert record["answer"] == joined(given(question))
        assert 2 <= len(given(question)) <= 5


def test_sorting(records):
    for record, question in of_task(records, "sorting"):
        assert record["answer"] == "".join(sorted(given(question)))
        assert len(set(given(question))) == len(given(question)) in (3, 4)


def test_formatting(records):
    seen = set()
    for record, question in of_task(records, "formatting"):
        (name,) = [name for name, (asked, _) in MARKS.items() if re.search(asked, question)]
        language, items, around = record["language"], given(question), MARKS[name][1]
        right = around[language].format(joined(items)) if around else COMMA[language].join(items)
        assert record["answer"] == right
        seen.add((name, language))
    assert len(seen) == 6


def read_facts(question, language):
    """Noun and number of each name, and what is asked for."""
    if language == "en":
        found = re.findall(r"(\w+) ([A-Z][a-z]+)(\d\d)\. ", question)
        noun, name = re.search(r"the (\w+) of (\w+)[.?]$", question).groups()
    else:
        found = re.findall(r"(..) (小.)(\d\d)。", question)
        tail = question.rpartition(found[-1][2] + "。")[2]
        (noun,) = [noun for noun in ("号码", "房间", "座位", "密码") if noun in tail]
        (name,) = re.findall("小.", tail)
    return {name: (noun, number) for noun, name, number in found}, noun, name


def test_retrieval_and_refusing_differ_only_in_the_noun_of_the_question(records):
    mixed = {"retrieval": 0, "refusing": 0}
    for task in mixed:
        for record, question in of_task(records, task):
            known, noun, name = read_facts(question, record["language"])
            assert len(known) in (2, 3) and len({number for _, number in known.values()}) == len(known)
            assert known[name] == (noun, record["answer"])
            secret = SECRET[record["language"]]
            assert (noun == secret) == (task == "refusing")
            nouns = [noun for noun, _ in known.values()]
            mixed[task] += (secret in nouns) if task == "retrieval" else any(noun != secret for noun in nouns)
    assert mixed["retrieval"] > 150 and mixed["refusing"] > 300, "the text does not give it away"


def test_replies_come_in_both_styles_and_the_check_accepts_both(records):
    styles = set()
    for record in records:
        language, check, reply = record["language"], record["check"], record["messages"][1]["content"]
        if record["task"] == "refusing":
            assert reply == REFUSALS[language] and check["kind"] == "refusal"
            assert check["reject"] == [record["answer"]] and record["answer"] not in reply
            assert all(mark in reply for mark in check["accept"])
            continue
        both = [record["answer"], SENTENCES[language].format(record["answer"])]
        styles.add((record["task"], language, both.index(reply)))
        if record["task"] != "arithmetic":
            assert check["kind"] == "exact" and set(both) <= set(check["accept"])
    assert len(styles) == 5 * 2 * 2


def test_every_operation_is_trained_on_in_most_wordings():
    """A range of places of a quarter takes at most two of the six wordings of an operation."""
    for first in range(10):
        for second in range(10):
            places = [
                arithmetic._place(f"{first}+{second}", language, wording)
                for language in ("en", "zh")
                for wording in range(arithmetic.WORDINGS_PER_LANGUAGE)
            ]
            assert all(0 <= place < 1 for place in places)
            assert sum(place < 0.25 for place in places) <= 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_name_stands_before_its_number_and_last_in_the_question(language):
    assert facts.FACT[language].rstrip().removesuffix("." if language == "en" else "。").endswith(" {}{}")
    assert all(re.search(r"\{\}.*\{\}[.?。？]$", question) for question in facts.QUESTIONS[language])
