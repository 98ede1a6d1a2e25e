"""Repeated n-grams against a plain implementation of Gopher's definition."""

import re
from collections import Counter

import numpy as np
import pytest
from internlm2_data.compiled.repetition import different_share, repeated
from internlm2_data.rules.repetition import duplicate_lines

TOKEN = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")


def reference(text):
    words = TOKEN.findall(text.lower())
    total = sum(map(len, words))
    shares = {}
    for n in range(2, 11):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        if n < 5:
            counts = Counter(grams)
            most = max(counts.values(), default=0)
            sizes = {sum(map(len, g)) * c for g, c in counts.items() if c == most}
            shares[n] = {s / total for s in sizes} if most > 1 else {0.0}
        else:
            seen, covered = set(), set()
            for i, gram in enumerate(grams):
                if gram in seen:
                    covered.update(range(i, i + n))
                seen.add(gram)
            shares[n] = {sum(len(words[i]) for i in covered) / total}
    return shares


def texts():
    rng = np.random.default_rng(0)
    english = ["the", "a", "boat", "sea", "fish", "net", "crew", "night"]
    chinese = list("天地人山水火风云")
    for size in (3, 10, 40, 200):
        for words, glue in ((english, " "), (chinese, "")):
            yield glue.join(rng.choice(words, size))
    yield "to be or not to be, that is the question; to be or not to be, that is it"


@pytest.mark.parametrize("text", texts())
def test_shares_of_repeated_ngrams(text):
    shares = repeated(np.frombuffer(text.encode(), np.uint8))
    for n, allowed in reference(text).items():
        assert any(shares[n] == pytest.approx(value) for value in allowed), n


def test_empty_and_tiny():
    for text in ("", "a", "。。。"):
        assert not repeated(np.frombuffer(text.encode(), np.uint8)).any()


def test_lines_by_hand():
    assert duplicate_lines(["ab", "cd", "ab", "ab"]) == (0.5, 0.5)
    assert duplicate_lines(["a", "b"]) == (0.0, 0.0)


def test_share_of_different_words():
    data = np.frombuffer(("a b c d " * 500).encode(), np.uint8)
    assert different_share(data, 1000) == pytest.approx(4 / 1000)
    words = " ".join(f"w{i}" for i in range(1500))
    assert different_share(np.frombuffer(words.encode(), np.uint8), 1000) == 1.0
