import pytest
import torch
import torch.nn.functional as F
from internlm2_core.evaluation import Scored, Subject
from internlm2_core.evaluation.subject import of_like_length

DOCUMENTS = [
    Scored([5, 6, 7, 8], [True] * 4),
    Scored(list(range(40, 80)), [False] * 20 + [True] * 20),
    Scored([9, 3], [True, True]),
]


@torch.no_grad()
def alone(subject: Subject, document: Scored) -> float:
    ids = torch.tensor(document.ids)
    losses = F.cross_entropy(subject.net(ids[None])[0, :-1], ids[1:], reduction="none")
    return float((losses * torch.tensor(document.counts)[1:]).sum())


def test_document_losses_equal_those_of_each_alone(subject: Subject) -> None:
    losses = subject.document_losses(DOCUMENTS)
    assert [loss.tokens for loss in losses] == [3, 20, 1]
    for document, loss in zip(DOCUMENTS, losses, strict=True):
        assert loss.nats == pytest.approx(alone(subject, document), rel=1e-5)


def test_chunks_of_the_head_change_nothing(subject: Subject) -> None:
    whole = subject.document_losses(DOCUMENTS)
    subject.net.max_logits = 3 * subject.net.size.vocab_size
    for before, after in zip(whole, subject.document_losses(DOCUMENTS), strict=True):
        assert after.nats == pytest.approx(before.nats, rel=1e-5)


def test_nothing_to_predict(subject: Subject) -> None:
    with pytest.raises(ValueError, match="Document 1 of 2"):
        subject.document_losses([DOCUMENTS[0], Scored([4], [True])])


def test_batches_stay_within_their_tokens() -> None:
    lengths = [3, 50, 7, 7, 200, 1]
    batches = list(of_like_length(lengths, 64))
    assert sorted(index for batch in batches for index in batch) == list(range(6))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 64 for b in batches)


def test_greedy_text_lacks_the_token_that_ended_it(scripted) -> None:
    assert scripted(lambda prompt: prompt[::-1]).greedy([[97, 98]], 10, ("<|im_end|>",)) == ["ba"]
