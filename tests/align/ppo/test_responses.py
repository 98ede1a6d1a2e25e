"""What is read where: against plain forward passes of each sequence alone."""

import torch
from internlm2_align.ppo.responses import Responses, token_logprobs, token_values
from internlm2_align.reward.network import from_language_model

RESPONSES = Responses([[1, 2, 3], [4], [5, 6]], [[7, 8], [9, 10, 11, 12], [13]])
CPU = torch.device("cpu")


def test_layout_by_hand():
    packed = Responses([[1, 2], [3]], [[4, 5], [6]]).pack(CPU)
    assert packed.input_ids.tolist() == [[1, 2, 4, 5, 3, 6]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 0, 1]]
    assert packed.places.tolist() == [1, 2, 4]
    assert packed.targets.tolist() == [4, 5, 6]


def test_mask_and_spread():
    assert RESPONSES.mask().tolist() == [[True, True, False, False], [True] * 4, [True, False, False, False]]
    values = torch.arange(1.0, 8.0, requires_grad=True)
    spread = RESPONSES.spread(values)
    assert spread.tolist() == [[1, 2, 0, 0], [3, 4, 5, 6], [7, 0, 0, 0]]
    (gradient,) = torch.autograd.grad((spread * 2).sum(), values)
    assert gradient.tolist() == [2] * 7


def test_logprobs_equal_a_forward_pass_of_each_sequence_alone(language_model):
    logprobs = RESPONSES.spread(token_logprobs(language_model, RESPONSES.pack(CPU)))
    for row, (prompt, reply) in enumerate(zip(RESPONSES.prompts, RESPONSES.responses, strict=True)):
        logits = language_model(torch.tensor([prompt + reply]))[0].log_softmax(-1)
        for place, token in enumerate(reply):
            expected = logits[len(prompt) + place - 1, token]
            torch.testing.assert_close(logprobs[row, place], expected, atol=1e-5, rtol=1e-5)


def test_logprobs_in_chunks_have_the_same_value_and_gradient(language_model):
    results = []
    for max_logits in (2**27, 2 * language_model.size.vocab_size):
        language_model.max_logits = max_logits
        language_model.zero_grad()
        logprobs = token_logprobs(language_model, RESPONSES.pack(CPU))
        (logprobs * torch.arange(1, 8)).sum().backward()
        results.append((logprobs.detach(), language_model.output.weight.grad.clone()))
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-5)


def test_values_are_read_before_each_token(language_model):
    critic = from_language_model(language_model, torch.Generator().manual_seed(0))
    values = RESPONSES.spread(token_values(critic, RESPONSES.pack(CPU)))
    prompt, reply = RESPONSES.prompts[1], RESPONSES.responses[1]
    hidden = critic.model(torch.tensor([prompt + reply]))[0]
    expected = torch.nn.functional.linear(hidden[:-1], critic.v_head.weight).squeeze(-1)
    torch.testing.assert_close(values[1], expected, atol=1e-5, rtol=1e-5)


def test_micro_batches_keep_the_budget_and_lose_nothing():
    rows = list(RESPONSES.micro_batches(6))
    assert sorted(row for batch in rows for row in batch) == [0, 1, 2]
    assert all(sum(RESPONSES.lengths[row] for row in batch) <= 6 for batch in rows)
    assert list(RESPONSES.micro_batches(1)) == [[0], [1], [2]]
