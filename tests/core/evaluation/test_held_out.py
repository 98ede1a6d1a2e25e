import math

import pytest
import torch
from internlm2_core.evaluation import HeldOutLoss, Subject
from internlm2_core.evaluation.held_out import spelt_bytes
from internlm2_core.text import ByteTokenizer


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
    # The first byte of a row is not predicted, and what is left of its character is no valid UTF-8: 6 of 8 bytes, and
    # a replacement character of 3 for each stray byte.
    assert (chinese["tokens"], chinese["bytes"]) == (24, 3 * (6 + 2 * 3))
    english = result["languages"]["en"]
    assert english["nats_per_token"] == pytest.approx(nats, rel=1e-5)
    assert (english["tokens"], english["bytes"]) == (16, 14)
    assert english["bits_per_byte"] == pytest.approx(16 * math.log2(300) / 14, rel=1e-5)
    assert result["overall"]["tokens"] == 40
    assert set(result["languages"]) == {"zh", "en"}


def test_special_tokens_spell_nothing() -> None:
    tokenizer = ByteTokenizer()
    ids = [*tokenizer.encode("好a"), tokenizer.special("</s>"), *tokenizer.encode("</s>")]
    assert spelt_bytes(tokenizer, ids) == 3 + 1 + 4


def test_max_rows_and_sources_without_loss(subject: Subject, progress) -> None:
    rows = [list(b"abcd")] * 5
    figures = HeldOutLoss({"en": rows}, Rows, context=4, max_rows=2).run(subject, progress).figures
    assert figures["overall"]["tokens"] == 6
    with pytest.raises(ValueError, match="'en' has no tokens"):
        HeldOutLoss({"en": []}, Rows, context=4).run(subject, progress)
    with pytest.raises(ValueError, match=r"sources=\{\} of held-out loss must hold one"):
        HeldOutLoss({}, Rows, context=4)
