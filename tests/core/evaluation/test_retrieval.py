import random
import re

import pytest
from internlm2_core.evaluation import Chains, Count, Facts, Retrieval, Unlike
from internlm2_core.evaluation.effective import by_length, effective_length, interval
from internlm2_core.evaluation.planting import Hay
from internlm2_core.evaluation.retrieval import Asked, answer_tokens, prompt_of
from internlm2_core.evaluation.riddles import Riddle
from internlm2_core.text import ByteTokenizer
from scipy.stats import binomtest

NAMES = ["Ann", "Anna", "Ben", "Eva", "Max"]
KINDS = {
    "many": Facts("The {noun} of {name} is {value}.", "The {noun} of {names} is", ["code"], NAMES, told=4, asked=2, values=2),
    "unlike": Unlike(
        [{"statement": "{name} feeds penguins.", "question": "Expert on birds:"},
         {"statement": "{name} tunes pianos.", "question": "Good at music:"}], NAMES, told=2,
    ),
    "chains": Chains("VAR {name} = {value}.", "VAR {name} = VAR {before}.", "Variables with value {value}:", hops=2),
    "count": Count("The bell rang.", "Rings of the bell:"),
}  # fmt: skip


def solve(prompt: str) -> str:
    """Reads the prompt as a program would."""
    if "Rings" in prompt:
        return f" {prompt.count('The bell rang.')}."
    if found := re.search(r"Variables with value (\d+):$", prompt):
        value = {}
        for name, number, before in re.findall(r"VAR (\w+) = (?:(\d+)|VAR (\w+))\.", prompt):
            value[name] = number or value[before]
        return " " + ", ".join(name for name, own in value.items() if own == found[1])
    if "Expert on birds:" in prompt or "Good at music:" in prompt:
        return " " + re.findall(rf"(\w+) {'feeds' if 'birds:' in prompt else 'tunes'}", prompt)[-1]
    names = re.search(r"The code of ([\w, ]+) is$", prompt)
    assert names
    return " " + " ".join(
        value for name in names[1].split(", ") for value in re.findall(rf"of {name} is (\d+)\.", prompt)
    )


@pytest.fixture
def task(haystacks):
    return Retrieval({"en": haystacks["en"]}, {"en": KINDS}, [700, 400], depths=[0, 1], trials=3)


def test_a_model_that_reads_solves_everything(scripted, progress, fits_schema, task) -> None:
    subject = scripted(solve)
    result = task.run(subject, progress)
    fits_schema(task, result.figures)
    assert [sample for sample in result.samples if sample["score"] < 1] == []
    assert len(result.samples) == 4 * 2 * 2 * 3
    overall = result.figures["overall"]
    assert overall["effective_length"]["tokens"] == 700 and overall["grid"] == [[1, 1], [1, 1]]
    rooms = {kind: answer_tokens(Hay(task.haystacks["en"], ByteTokenizer()), maker) for kind, maker in KINDS.items()}
    lengths = [
        len(prompt) + rooms[sample["kind"]]
        for prompt, sample in zip(subject.engine.prompts, result.samples, strict=True)
    ]
    assert lengths == [sample["length"] for sample in result.samples]


def test_effective_length_of_a_model_that_forgets(scripted, progress, task) -> None:
    result = task.run(scripted(lambda prompt: solve(prompt) if len(prompt) < 500 else "?"), progress)
    kinds = result.figures["languages"]["en"]["kinds"]
    assert {kind: each["effective_length"]["tokens"] for kind, each in kinds.items()} == dict.fromkeys(KINDS, 400)
    assert kinds["count"]["by_length"]["700"] == {"score": 0, "low": 0, "high": pytest.approx(0.39, abs=0.01)}
    assert result.figures["threshold"] == 0.856


def test_a_cell_does_not_depend_on_the_rest(scripted, progress, haystacks) -> None:
    small, large = scripted(solve), scripted(solve)
    one = {"en": {"count": KINDS["count"]}}
    Retrieval(haystacks, one, [400], depths=[0.5], trials=2).run(small, progress)
    Retrieval(haystacks, {"en": KINDS}, [500, 400], depths=[0, 0.5], trials=3).run(large, progress)
    assert all(prompt in large.engine.prompts for prompt in small.engine.prompts)


def test_places_of_facts(haystacks) -> None:
    tokenizer = ByteTokenizer()
    hay = Hay(haystacks["en"], tokenizer)
    for kind, maker in KINDS.items():
        for depth in (0.0, 0.5, 0.9):
            rng = random.Random(f"{kind}{depth}")
            riddle = maker.make(rng)
            text = tokenizer.decode(prompt_of(hay, 40, Asked("en", kind, 3000, depth, riddle, rng)))
            body = text[: text.rindex(riddle.question)]
            assert all(body.count(fact) >= riddle.facts.count(fact) for fact in riddle.facts)
            places = [body.index(fact) / len(body) for fact in riddle.facts]
            if kind != "count":  # the same sentence may come before
                assert abs(places[0] - depth) < 0.15
            assert not riddle.in_order or places == sorted(places)


def test_intervals_equal_those_of_scipy() -> None:
    for right, count in [(0, 5), (3, 5), (5, 5), (40, 44)]:
        found = interval([1.0] * right + [0.0] * (count - right))
        theirs = binomtest(right, count).proportion_ci(0.95, method="wilson")
        assert found == pytest.approx((theirs.low, theirs.high), abs=1e-4)


def test_effective_length_by_hand() -> None:
    def samples(length: int, right: int) -> list[dict]:
        return [{"length": length, "score": float(number < right)} for number in range(40)]

    lengths = by_length([*samples(4096, 40), *samples(8192, 35), *samples(16384, 32)])
    assert effective_length(lengths, 0.856) == {"tokens": 8192, "low": 4096, "high": 16384}
    assert effective_length(lengths, 0.99) == {"tokens": 4096, "low": None, "high": 4096}


@pytest.mark.parametrize(
    ("riddle", "answer", "score"),
    [
        (Riddle([], "", ["Ann"]), " Anna.", 0),
        (Riddle([], "", ["Ann", "Ben"]), "ann, and 7", 0.5),
        (Riddle([], "", ["小明"]), "答案是小明吗", 1),
        (Riddle([], "", ["123"]), "1234", 0),
        (Riddle([], "", ["7"], is_number=True), " 7 times", 1),
        (Riddle([], "", ["7"], is_number=True), " 17", 0),
        (Riddle([], "", ["7"], is_number=True), " not 7", 0),
    ],
)
def test_scores(riddle: Riddle, answer: str, score: float) -> None:
    assert riddle.score(answer) == score


def test_200k_tokens(haystacks) -> None:
    tokenizer, rng = ByteTokenizer(), random.Random(1)
    hay = Hay(haystacks["zh"], tokenizer)
    maker = Chains("VAR {name} = {value}.", "VAR {name} = VAR {before}.", "{value}:", hops=9, chains=9)
    room = answer_tokens(hay, maker)
    assert len(prompt_of(hay, room, Asked("zh", "chains", 200_000, 0.5, maker.make(rng), rng))) == 200_000 - room


def test_mistakes(haystacks) -> None:
    with pytest.raises(ValueError, match=r"must not share a word, and share \['birds', 'feeds'\]"):
        Unlike([{"statement": "{name} feeds birds.", "question": "Who feeds Birds?"}], NAMES)
    with pytest.raises(ValueError, match=r"must not share a word, and share \['鸟'\]"):
        Unlike([{"statement": "{name}喂鸟。", "question": "谁懂鸟？"}], NAMES)
    with pytest.raises(ValueError, match="asked=3 must be from 1 to told=2"):
        Facts("", "", ["code"], NAMES, told=2, asked=3)
    with pytest.raises(ValueError, match=r"haystacks=\['en', 'zh'\] must have 'fr'"):
        Retrieval(haystacks, {"fr": KINDS}, [100])
    with pytest.raises(ValueError, match=r"threshold=85\.6 of a retrieval task must be between 0 and 1"):
        Retrieval(haystacks, {"en": KINDS}, [100], threshold=85.6)
    with pytest.raises(ValueError, match=r"lengths=.* must not be empty"):
        Retrieval(haystacks, {"en": KINDS}, [])
