"""Sharing what contexts begin with changes nothing: each continuation against a forward pass of its own."""

import random

import pytest
import torch
from internlm2_core import LanguageModel
from internlm2_core.evaluation import Subject
from internlm2_core.evaluation.likelihood import Continuation, batches_of
from internlm2_core.generation import LocalEngine
from internlm2_core.text import ByteTokenizer


@torch.no_grad()
def alone(net: LanguageModel, asked: Continuation) -> tuple[float, bool]:
    ids = torch.tensor([*asked.context, *asked.ids])
    logprobs = net(ids[None, :-1])[0, len(asked.context) - 1 :].log_softmax(-1)
    targets = ids[len(asked.context) :]
    return float(logprobs.gather(1, targets[:, None]).sum()), bool((logprobs.argmax(-1) == targets).all())


def few_shot(rng: random.Random, choices: int, length: int) -> list[Continuation]:
    """Subjects with shots of their own, questions that begin with them, choices of one token or more."""
    draw = lambda n: [rng.randrange(300) for _ in range(n)]  # noqa: E731
    made = []
    for _ in range(3):
        shots = draw(120)
        for _ in range(6):
            context = [*shots, *draw(rng.randrange(1, 50))]
            made += [Continuation(context, draw(rng.randrange(1, length + 1))) for _ in range(choices)]
    made += [Continuation(draw(1), draw(1)), Continuation(draw(70), draw(9)), made[0]]
    rng.shuffle(made)
    return made


@pytest.mark.parametrize(("choices", "length"), [(4, 1), (4, 12), (1, 5), (2, 1)])
@pytest.mark.parametrize("scaling", ["none", "dynamic"])
def test_likelihoods_equal_those_of_each_alone(net: LanguageModel, choices: int, length: int, scaling: str) -> None:
    net.set_positions(rope_scaling=scaling, rope_factor=2.0)
    subject = Subject(net.eval(), ByteTokenizer(), LocalEngine(net), batch_tokens=1500)
    requests = few_shot(random.Random(choices + length), choices, length)
    # One that the model would say itself.
    said = int(net(torch.tensor([requests[0].context]))[0, -1].argmax())
    requests.append(Continuation(requests[0].context, [said]))
    for asked, found in zip(requests, subject.likelihoods(requests), strict=True):
        logprob, is_greedy = alone(net, asked)
        assert found.logprob == pytest.approx(logprob, abs=2e-4)
        assert found.is_greedy == is_greedy
    assert found.is_greedy


def test_shots_and_questions_are_computed_once(net: LanguageModel) -> None:
    requests = few_shot(random.Random(1), 4, 12)
    batches = list(batches_of(requests, 4000))
    assert sorted(index for batch in batches for index in batch.asked) == list(range(len(requests)))
    shared = [batch for batch in batches if batch.shared]
    assert {batch.shared for batch in shared} >= {120}
    assert any(batch.has_stems for batch in shared)
    assert not any(batch.shared or batch.has_stems for batch in batches_of(requests, 4000, may_share=False))


def test_choices_of_one_token_share_a_row() -> None:
    context = list(range(50))
    (batch,) = batches_of([Continuation(context, [choice]) for choice in range(4)], 1000)
    assert [len(question.rows) for question in batch.questions] == [1]
    assert sorted(batch.asked) == [0, 1, 2, 3]


def test_batches_hold_their_tokens() -> None:
    for batch in batches_of(few_shot(random.Random(2), 4, 12), 1500):
        rows = [row for question in batch.questions for row in question.rows]
        assert len(batch.questions) == 1 or len(rows) * max(len(row.ids) for row in rows) <= 1500


def test_nothing_to_continue() -> None:
    with pytest.raises(ValueError, match="Continuation 1 of 2"):
        list(batches_of([Continuation([1], [2]), Continuation([1], [])], 100))
