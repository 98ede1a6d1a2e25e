import json
import re
from random import Random

import pytest
from internlm2_data.document import Document
from internlm2_data.io import expand_inputs
from internlm2_data.miniature.written import KINDS, WrittenPipeline
from internlm2_data.miniature.written.facts import QUESTION, STATEMENT
from internlm2_data.miniature.written.hay import Hay, fitting_sentences, gather_hay
from internlm2_data.miniature.written.instructions.words import LANGUAGES, NAMES
from internlm2_data.miniature.written.pipeline import written
from internlm2_data.miniature.written.restated import Restated, Returning

HAY = Hay({"en": [f"This is sentence number {n}." for n in range(9)], "zh": ["今天的天气真的很好，我们去公园。"]})
FACT = {
    "en": re.compile(r"\b(?:number|code|room|seat|score) ([A-Z][a-z]+)(\d+)\."),
    "zh": re.compile(r"(?:号码|编号|房间|座位|分数) (\w\w)(\d+)。"),
}


def documents(kind, size=20_000, seed=1):
    return list(written(kind, size, seed, HAY))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_question_is_a_fact_up_to_its_value(language):
    fact = STATEMENT[language].format(noun="N", name="M", value="48")
    assert fact.startswith(QUESTION[language].format(noun="N", name="M"))
    assert fact[len(QUESTION[language].format(noun="N", name="M")) :].strip(" .。") == "48"


@pytest.mark.parametrize("kind", ["pairs", "lists", "needles", "far-needles"])
def test_a_name_keeps_its_value_through_a_document_and_comes_back(kind):
    returns = 0
    for document in documents(kind):
        facts = FACT[document.language].findall(document.text)
        assert len(dict(facts)) == len(set(facts))
        returns += len(facts) - len(set(facts))
        assert {name for name, _ in facts} <= set(NAMES[document.language])
    assert returns > 100


@pytest.mark.parametrize(
    ("kind", "least", "most"), [("pairs", 0, 0), ("needles", 0.3, 0.5), ("far-needles", 0.6, 0.85)]
)
def test_share_of_sentences_that_people_wrote(kind, least, most):
    text = " ".join(d.text for d in documents(kind, 200_000) if d.language == "en")
    hay, facts = text.count("This is sentence number"), len(FACT["en"].findall(text))
    assert least <= hay / (hay + facts) <= most


def test_facts_of_a_document_by_hand():
    text = Restated(people=(1, 1), sentences=(3, 3), text_share=0.0, digits=3).draw(Random(0), "zh", HAY)
    (fact,) = set(FACT["zh"].findall(text))
    assert len(fact[1]) == 3
    assert text == text[: len(text) // 3] * 3


def test_everybody_is_told_of_again_after_a_stretch():
    text = Returning(people=(3, 3), stretch=(5, 5), tellings=4).draw(Random(0), "en", HAY)
    kinds = re.findall(r"This is sentence number|[a-z]+ [A-Z][a-z]+\d\d", text)
    tellings = [kinds[start + 5 : start + 8] for start in range(0, 32, 8)]
    assert kinds == [x for told in tellings for x in ["This is sentence number"] * 5 + told]
    assert all(sorted(told) == sorted(tellings[0]) for told in tellings) and len(set(tellings[0])) == 3


def test_sums_are_right():
    for document in documents("sums"):
        heading, *lines = document.text.split("\n")
        assert heading in ("Exercises in addition.", "Exercises in subtraction.", "加法练习。", "减法练习。")
        for line in lines:
            signs = line
            for word, sign in {" plus ": "+", " minus ": "-", " is ": "=", "加": "+", "减": "-", "等于": "="}.items():
                signs = signs.replace(word, sign)
            left, right = signs.rstrip(".。").split("=")
            first, sign, second = left[0], left[1], left[2]
            assert int(right) == int(first) + int(second) * (1 if sign == "+" else -1)
            assert int(right) >= 0


def test_repeats_say_the_same_line():
    for document in documents("repeats"):
        lines = document.text.split("\n")
        assert 2 <= len(lines) <= 4
        assert len(set(lines)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_documents_depend_on_seed_and_kind_alone(kind):
    first = documents(kind)
    assert first == documents(kind)
    assert {d.id for d in first}.isdisjoint({d.id for d in documents(kind, seed=2)})
    assert len({d.id for d in first}) == len(first)
    sizes = {language: sum(d.num_bytes for d in first if d.language == language) for language in LANGUAGES}
    longest = max(d.num_bytes for d in first)
    assert all(10_000 <= size < 10_000 + longest for size in sizes.values())
    assert {(d.source, d.type) for d in first} == {(kind, "written")}


def test_sentences_of_fitting_length_by_hand():
    text = "Too short. This one is long enough for hay. " + "x" * 200 + ".\nAnd so is this line, without an end"
    assert fitting_sentences(text, "en") == ["This one is long enough for hay.", "And so is this line, without an end"]
    assert fitting_sentences("太短。这一句话的长度应该是刚刚好的吧！", "zh") == ["这一句话的长度应该是刚刚好的吧！"]


def test_hay_goes_round():
    assert Hay({"en": ["a", "b"], "zh": []}).draw(Random(0), "en", 3) in (["a", "b", "a"], ["b", "a", "b"])


def write_inputs(folder, languages=LANGUAGES):
    texts = {"en": "This is a sentence of some length. ", "zh": "这是一个有一定长度的普通中文句子。"}
    with (folder / "in.jsonl").open("w", encoding="utf-8") as out:
        for language in languages:
            document = Document(texts[language] * 20, "news", language, "prose")
            out.write(json.dumps(document.to_json(), ensure_ascii=False) + "\n")
    return [str(folder / "in.jsonl")]


def test_pipeline_writes_documents_that_the_pipelines_read(tmp_path):
    inputs = write_inputs(tmp_path)
    pipeline = WrittenPipeline(sizes={"needles": 3000, "sums": 500})
    pipeline.run(inputs, tmp_path / "a", executor=None)
    pipeline.run(inputs, tmp_path / "b", executor=None)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["counts.json", "needles.jsonl", "sums.jsonl"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    records = [json.loads(line) for line in (tmp_path / "a/needles.jsonl").read_text("utf-8").splitlines()]
    assert [Document.from_json(record).to_json() for record in records] == records
    counts = json.loads((tmp_path / "a/counts.json").read_text("utf-8"))["kinds"]["needles"]
    assert sum(cell["documents"] for cell in counts.values()) == len(records)
    WrittenPipeline(sizes={"needles": 3000}).run(inputs, tmp_path / "a", executor=None)
    assert expand_inputs([tmp_path / "a"]) == [tmp_path / "a" / "needles.jsonl"]


def test_mistakes_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"sizes name \['needle'\], but the kinds are"):
        WrittenPipeline(sizes={"needle": 1})
    with pytest.raises(ValueError, match=r"inputs=\[\] must name documents"):
        WrittenPipeline({"sums": 500}).run([], tmp_path, executor=None)
    with pytest.raises(ValueError, match=r"in zh\. Both languages"):
        gather_hay(write_inputs(tmp_path, ["en"]), 1000)
    with pytest.raises(ValueError, match="people"):
        Restated(people=(2, 99), sentences=(1, 2), text_share=0.5)
    with pytest.raises(ValueError, match="sentences"):
        Restated(people=(2, 3), sentences=(3, 2), text_share=0.5)
    with pytest.raises(ValueError, match="text_share"):
        Restated(people=(2, 3), sentences=(1, 2), text_share=1.0)
