import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from internlm2_core.batch import Batch
from internlm2_core.evaluation import HeldOutLoss, Subject
from internlm2_core.evaluation.held_out import Spelling
from internlm2_core.text import ByteTokenizer, Tokenizer, load_tokenizer
from internlm2_core.text.spelt import added_spaces, byte_counts
from tokenizers import Tokenizer as TokenizersTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers


class Rows:
    """Rows of one document each, without the data package."""

    def __init__(self, source: list[list[int]], context: int, batch_rows: int, max_rows: int | None) -> None:
        self.rows, self.batch_rows = source[:max_rows], batch_rows

    def loader(self):
        for start in range(0, len(self.rows), self.batch_rows):
            ids = torch.tensor(self.rows[start : start + self.batch_rows])
            labels = torch.cat([ids[:, 1:], torch.full((len(ids), 1), -100)], 1)
            yield {"input_ids": ids, "labels": labels, "position_ids": torch.arange(ids.shape[1]).expand_as(ids)}


def uniform(subject: Subject) -> Subject:
    torch.nn.init.zeros_(subject.net.output.weight)
    return subject


def test_uniform_model(subject: Subject, progress) -> None:
    """Every token costs ln V, so bits per byte are log2 V times tokens over bytes."""
    end = ByteTokenizer().special("</s>")
    sources = {
        "zh-news": [list("天地人".encode())] * 3,
        "en-web": [[*b"abcdefgh", end]],
        "en-books": [[*b"ijklmnop", end]],
    }
    result = HeldOutLoss(sources, Rows, context=9, batch_rows=2).run(uniform(subject), progress).figures
    nats = math.log(300)
    chinese = result["sources"]["zh-news"]
    # The first byte of a row is not predicted, and what is left of its character is not valid UTF-8 by itself.
    assert (chinese["tokens"], chinese["bytes"]) == (24, 3 * 8)
    english = result["languages"]["en"]
    assert english["nats_per_token"] == pytest.approx(nats, rel=1e-5)
    assert (english["tokens"], english["bytes"]) == (16, 14)
    assert english["bits_per_byte"] == pytest.approx(16 * math.log2(300) / 14, rel=1e-5)
    assert result["overall"]["tokens"] == 40
    assert set(result["languages"]) == {"zh", "en"}


TEXT = "好a </s> \n\n 你好👩‍👩‍👧 naïve <0x41>"


def byte_level(folder: Path) -> Tokenizer:
    """Merges that join halves of characters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    half = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("好")[0][0][:2]
    vocab = {char: i for i, char in enumerate(alphabet)} | {half: len(alphabet)}
    made = TokenizersTokenizer(models.BPE(vocab=vocab, merges=[(half[0], half[1])]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(["<s>", "</s>"])
    made.save(str(folder / "tokenizer.json"))
    return load_tokenizer(folder)


def of_llama(folder: Path) -> Tokenizer:
    """Spaces as a piece, one of them before each text, and bytes for what the vocabulary lacks."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁ab好", "▁a"]
    made = TokenizersTokenizer(
        models.BPE({name: i for i, name in enumerate(names)}, [("▁", "a")], byte_fallback=True, unk_token="<unk>")
    )
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.save(str(folder / "tokenizer.json"))
    return load_tokenizer(folder)


@pytest.mark.parametrize("make", [lambda folder: ByteTokenizer(), byte_level, of_llama], ids=["bytes", "bpe", "llama"])
def test_tokens_spell_the_bytes_of_their_text(make: Callable[[Path], Tokenizer], tmp_path: Path) -> None:
    tokenizer = make(tmp_path)
    counts, ids = byte_counts(tokenizer), tokenizer.encode(TEXT)
    assert sum(counts[id_] for id_ in ids) - added_spaces(tokenizer) == len(TEXT.encode())
    assert counts[tokenizer.special("</s>")] == 0
    assert added_spaces(tokenizer) == (make is of_llama)


def test_the_space_before_a_text_is_not_counted(tmp_path: Path) -> None:
    tokenizer = of_llama(tmp_path)
    begin = tokenizer.special("<s>")
    tokenizer.begin = (begin,)
    ids = torch.tensor([[begin, *tokenizer.encode("ab"), begin, *tokenizer.encode("好")]])
    labels = ids.roll(-1, 1)
    labels[0, -1] = labels[0, 2] = -100
    assert tokenizer.pieces()[ids[0, 1]] == "▁a"
    batch: Batch = {"input_ids": ids, "labels": labels, "position_ids": torch.arange(ids.shape[1])[None]}
    assert Spelling(tokenizer).bytes_of(batch) == 2 + 3


def test_max_rows_and_sources_without_loss(subject: Subject, progress) -> None:
    rows = [list(b"abcd")] * 5
    figures = HeldOutLoss({"en": rows}, Rows, context=4, max_rows=2).run(subject, progress).figures
    assert figures["overall"]["tokens"] == 6
    with pytest.raises(ValueError, match="'en' has no tokens"):
        HeldOutLoss({"en": []}, Rows, context=4).run(subject, progress)
    with pytest.raises(ValueError, match=r"sources=\{\} of held-out loss must hold one"):
        HeldOutLoss({}, Rows, context=4)
