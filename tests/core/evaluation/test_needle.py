import random
import re

import numpy as np
import pytest
from internlm2_core.evaluation import Haystack, Needle
from internlm2_core.evaluation.needle import first_number
from internlm2_core.evaluation.planting import PromptMaker, plant, without_first
from internlm2_core.text import ByteTokenizer


def find(prompt: str) -> str:
    """Answers from the prompt: the value that follows an earlier copy of the question."""
    question = re.split(r"(?<=[.。])", prompt)[-1].strip()
    value = re.search(re.escape(question) + r"\s*(\d+)", prompt)
    assert value
    return " " + value[1] + ("." if prompt.isascii() else "。")


def test_a_model_that_reads_finds_everything(scripted, haystacks, progress) -> None:
    result = Needle(haystacks, [160, 400], trials=3, distractors=2).run(scripted(find), progress)
    figures = result.figures
    assert figures["overall"]["accuracy"] == 1
    assert figures["languages"]["zh"]["by_length"] == {"160": 1, "400": 1}
    assert np.array(figures["overall"]["grid"]).shape == (2, 5)
    assert len(result.samples) == 2 * 2 * 5 * 3


def test_prompts_have_their_length_and_depth(haystacks) -> None:
    tokenizer = ByteTokenizer()
    for language, haystack in haystacks.items():
        maker = PromptMaker(haystack, tokenizer, digits=3, distractors=0)
        for depth in (0.0, 0.5, 1.0):
            prompt = maker.make(600, depth, random.Random(1))
            assert len(prompt.ids) + maker.answer_tokens == 600
            question = tokenizer.encode(haystack.separator + prompt.question)
            hay_and_fact = prompt.ids[: -len(question)]
            asked = prompt.question
            begin = asked + " " if language == "en" else asked
            place = bytes(hay_and_fact).find(begin.encode())
            fact = len(f"{begin}{prompt.value}{'.' if language == 'en' else '。'}".encode())
            # Sentences are up to 60 bytes long, so the nearest boundary is at most 30 off.
            assert abs(place - depth * (len(hay_and_fact) - fact)) <= 30


def test_accuracy_is_counted_in_its_cell(scripted, haystacks, progress) -> None:
    def only_late(prompt: str) -> str:
        place = prompt.find("The code") / len(prompt)
        return find(prompt) if place > 0.4 else " 7"

    needle = Needle({"en": haystacks["en"]}, [400], depths=[0, 1], trials=4)
    assert needle.run(scripted(only_late), progress).figures["overall"] == {
        "accuracy": 0.5,
        "by_length": {"400": 0.5},
        "grid": [[0.0, 1.0]],
    }


def test_a_cell_does_not_depend_on_the_rest_of_the_grid(scripted, haystacks, progress) -> None:
    small, large = scripted(find), scripted(find)
    Needle({"en": haystacks["en"]}, [200], depths=[0.5], trials=2).run(small, progress)
    Needle(haystacks, [160, 200], depths=[0, 0.5], trials=3).run(large, progress)
    assert all(prompt in large.engine.prompts for prompt in small.engine.prompts)


def test_hay_from_token_files() -> None:
    class Tokens:
        def __init__(self, texts: list[str]) -> None:
            self.texts = texts

        def __len__(self) -> int:
            return len(self.texts)

        def read(self, document: int) -> np.ndarray:
            tokenizer = ByteTokenizer()
            return np.array([*tokenizer.encode(self.texts[document]), tokenizer.special("</s>")])

    files = {
        "en-web": Tokens(["One short sentence here. Another sentence there."]),
        "zh-web": Tokens(["这里有一句比较长的中文句子，真的。"]),
    }
    english = Haystack(files, "{value}", "", ["n"], ["a"], language="en")
    assert english.sentences(ByteTokenizer()) == ["One short sentence here.", "Another sentence there."]
    with pytest.raises(ValueError, match="language=fr: the documents hold no sentence of 15 to 200 characters"):
        Haystack(files, "{value}", "", ["n"], ["a"], language="fr").sentences(ByteTokenizer())


@pytest.mark.parametrize(
    ("answer", "number"), [(" 123.", "123"), ("123。", "123"), (" 1234", "1234"), (" no 123", None), ("", None)]
)
def test_first_number(answer: str, number: str | None) -> None:
    assert first_number(answer) == number


def test_plant_by_hand() -> None:
    hay = [[1, 1], [2, 2], [3, 3, 3, 3]]
    assert plant(hay, [[9]], [0.0]) == [[9], *hay]
    assert plant(hay, [[9]], [0.45]) == [[1, 1], [2, 2], [9], [3, 3, 3, 3]]
    assert plant(hay, [[9], [8]], [1.0, 0.2]) == [[1, 1], [8], [2, 2], [3, 3, 3, 3], [9]]
    assert without_first(hay, 3) == [[2], [3, 3, 3, 3]]
    assert without_first(hay, 8) == []


def test_mistakes(haystacks) -> None:
    with pytest.raises(ValueError, match=r"depths=\[.*1\.5.*\] of a needle task must be between 0 and 1"):
        Needle(haystacks, [100], depths=[1.5])
    with pytest.raises(ValueError, match="lengths"):
        Needle(haystacks, [])
    with pytest.raises(ValueError, match="must be below the number of names"):
        PromptMaker(haystacks["en"], ByteTokenizer(), 3, distractors=3)
    with pytest.raises(ValueError, match="lengths=20 must be at least"):
        PromptMaker(haystacks["en"], ByteTokenizer(), 3, 0).make(20, 0.5, random.Random(1))
