import json
import math
from pathlib import Path

import pytest
import torch
from internlm2_core.evaluation import Contamination, LossSum, Subject
from internlm2_core.evaluation.contamination import set_figures


def test_figures_by_hand() -> None:
    figures = set_figures([LossSum(2.0, 1), LossSum(4.0, 3)])
    # Mean 6/4; residuals 2 - 1.5 and 4 - 4.5; their deviation sqrt(0.5) times sqrt(2) over 4 tokens.
    assert figures == {"nats_per_token": 1.5, "standard_error": pytest.approx(0.25), "tokens": 4, "documents": 2}
    assert set_figures([LossSum(2.0, 1)])["standard_error"] is None


def write(path: Path, texts: list[str], as_chat: bool) -> str:
    def record(text: str) -> dict:
        turns = [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": text}]
        return {"messages": turns} if as_chat else {"text": text}

    path.write_text("".join(json.dumps(record(text)) + "\n" for text in texts))
    return str(path)


@pytest.mark.parametrize("as_chat", [False, True])
def test_a_set_that_was_learnt_shows(tmp_path: Path, subject: Subject, progress, as_chat: bool) -> None:
    """Text of the one token that the head prefers costs less than other text."""
    with torch.no_grad():
        # One embedding for all: the hidden state is the same everywhere, and the head prefers "a" everywhere.
        embedding = subject.net.model.tok_embeddings.weight
        embedding[:] = embedding[0].clone()
        subject.net.output.weight.zero_()
        subject.net.output.weight[97] = 0.1 * subject.net.model(torch.tensor([[0]]))[0, -1]
    seen = write(tmp_path / "train.jsonl", ["aaaa", "aa"], as_chat)
    other = write(tmp_path / "test.jsonl", ["bbbb", "bb"], as_chat)
    figures = Contamination(seen, other, other, limit=None).run(subject, progress).figures
    assert figures["delta1"] == 0
    assert figures["delta2"] > 0.1
    # Two documents of 4 and 2 letters and their ends; the first letter of a text is not predicted.
    assert figures["sets"]["train"]["tokens"] == (4 + 1 + 2 + 1 if as_chat else 3 + 1 + 1 + 1)
    assert math.isfinite(figures["sets"]["train"]["standard_error"])


def test_records_without_text(tmp_path: Path, subject: Subject, progress) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "x"}\n')
    path = str(tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match=r"line 1: keys=\['body'\] must hold one of messages, .*text"):
        Contamination(path, path, path).run(subject, progress)
