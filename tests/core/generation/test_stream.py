"""Streaming gives the text of the whole, at a cost that is linear in its length."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from internlm2_core.generation.stream import WINDOW, TextStream
from internlm2_core.text import ByteTokenizer, Tokenizer, load_tokenizer

TEXTS = ["龘靐齉 👩‍👩‍👧 é" * 9, "broken \ufffd", "  two spaces\n\n code", "你好，世界。" * 30, "\ufffd" * 40, " a"]


def streamed(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    shown: list[str] = []
    stream = TextStream(tokenizer, (), shown.append)
    for id_ in ids:
        stream(id_)
    stream.finish()
    assert stream.text == "".join(shown)
    return stream.text


@pytest.mark.parametrize("kind", ["bytes", "trained"])
def test_the_text_is_that_of_the_whole(kind: str, tokenizer_file: Path) -> None:
    tokenizer = ByteTokenizer() if kind == "bytes" else load_tokenizer(tokenizer_file)
    drawn = random.Random(1)
    cases = [tokenizer.encode(text) for text in TEXTS]
    cases += [drawn.choices(range(tokenizer.vocab_size), k=100) for _ in range(50)]
    for ids in cases:
        for end in (len(ids), len(ids) - 1, len(ids) // 2):  # in the middle of a character too
            assert streamed(tokenizer, ids[:end]) == tokenizer.decode(ids[:end])


def test_a_character_waits_until_it_is_whole_or_nothing_more_comes() -> None:
    tokenizer, shown = ByteTokenizer(), []
    end = tokenizer.special("<|im_end|>")
    stream = TextStream(tokenizer, (end,), shown.append)
    for id_ in [*tokenizer.encode("a你"), *tokenizer.encode("好")[:2], end]:
        stream(id_)
    assert shown == ["a", "你"]
    stream.finish()
    assert shown == ["a", "你", "\ufffd"]
    assert stream.ids[-1] == end


def test_a_token_decodes_a_window_and_not_all_before_it() -> None:
    class Counting(ByteTokenizer):
        decoded = 0

        def decode(self, ids: Sequence[int]) -> str:
            self.decoded += len(ids)
            return super().decode(ids)

    tokenizer = Counting()
    ids = tokenizer.encode("the quick brown fox " * 100)
    streamed(tokenizer, ids)
    assert tokenizer.decoded < 2 * WINDOW * len(ids)
