import pytest
from internlm2_align.labelling.style import is_garbled, is_sentence, repeats, units


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is 12.", True),
        ("Sorted: 1, 2, 3.", True),
        ('He said "no."', True),
        ("答案是12。", True),
        ("12", False),
        ("12.", False),
        ("the answer is 12.", False),
        ("The answer is 12", False),
        ("是12。", False),
        ("", False),
    ],
)
def test_sentences(text, expected):
    assert is_sentence(text) is expected


def test_units_are_words_and_single_characters():
    assert units("Ab 12, 你好。") == ["Ab", "12", ",", "你", "好", "。"]


def test_repetition_and_length_garble_a_reply():
    assert repeats("1 2 3 1 2 3 1 2 3")
    assert not repeats("1 2 3 1 2 3")
    assert is_garbled("The sum is 4. " * 4, "The sum is 4.")
    assert not is_garbled("The sum is 4.", "4")
    assert is_garbled("word " * 3 + " ".join(map(str, range(60))), "short")
    # The reference repeats itself too.
    assert not is_garbled("a a a a a a a", "a a a a a a")
