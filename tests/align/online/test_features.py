"""What replies show, by hand."""

import pytest
from internlm2_align.online.features import Feature, Lengths, features_of, usual_lengths

CASES = {
    "language: latin": ("It is 7.", "It is 苹."),
    "language: han": ("答案是七。", "答案是seven and eight and nine。"),
    "language: mixed": ("答案是 the sum of two numbers。", "答案是七。"),
    "language: cyrillic": ("Ответ: семь", "It is 7."),
    "language: none": ("7", "It is 7."),
    "format: list": ("Two:\n- one\n- two", "It is 3 - 2."),
    "format: numbered list": ("1. one\n2. two", "3.14 is pi"),
    "format: heading": ("# Answer\n7", "#7 of them"),
    "format: bold": ("It is **7**.", "2 ** 3 ** 4"),
    "format: code block": ("```python\n1\n```", "`1`"),
    "format: table": ("| a | b |\n|---|:-:|\n| 1 | 2 |", "a | b"),
    "format: latex": ("It is $x^2$.", "It costs $5 or $6."),
    "format: emoji": ("Sure 😀", "Sure :)"),
    "format: paragraphs": ("One.\n\nTwo.", "One.\nTwo."),
    "choice: B": ("The answer is (B).", "The answer is Bob."),
    "choice: C": ("答案：C", "A. No, the answer is D"),
    "choice: A": ("A", "A man came."),
    "number: integer": ("It is 1,234.", "It is 1.5."),
    "number: decimal": ("3 or 2.50", "2"),
    "number: fraction": ("It is 3/4", "3"),
    "number: percent": ("40 %", "40"),
    "number: boxed": ("\\boxed{12}", "12"),
    "number: none": ("seven", "7"),
    "refusal": ("I'm sorry, I cannot share that.", "It is 7."),
    "repeats": ("22222222", "It is 7."),
    "length: long": ("a" * 11, "a" * 10),
    "length: short": ("a" * 4, "a" * 5),
    "prefix: Sure, it": ("Sure,  it is.", "Surely, it is."),
    "suffix: is 7!": ("It\nis 7!", "It is 77!"),
    "phrase: cat sat": ("the cat sat down", "the cat satin"),
    "phrase: 的答案": ("你的答案是七", "你的回答案"),
}


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name):
    kind, _, value = name.partition(": ")
    yes, no = (features_of(text, Lengths(5, 10)) for text in CASES[name])
    assert Feature(kind, value) in yes and Feature(kind, value) not in no
    assert str(Feature(kind, value)) == name


def test_usual_lengths():
    assert usual_lengths(["a" * n for n in range(1, 101)]) == (6, 95)
    assert usual_lengths(["abc"] * 3) == (3, 3)
    few = usual_lengths([])
    assert not features_of("a" * 99, few).values("length") and not features_of("", few).values("length")
