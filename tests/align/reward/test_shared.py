"""A shared prompt changes the cost, never the scores or gradients."""

from dataclasses import replace

import pytest
import torch
from internlm2_align.reward.network import from_language_model
from internlm2_align.reward.shared import Group, pack_groups

GROUPS = [
    Group([1, 2, 3, 4], [[5, 6, 7], [8, 7]]),
    Group([9, 10], [[11, 7], [12, 13, 14, 7], [15, 7]]),
    Group([], [[16, 17, 7]]),
]


def test_layout_by_hand():
    packed = pack_groups([Group([1, 2], [[3, 9], [4, 5, 9]]), Group([6], [[9]])])
    assert packed.input_ids.tolist() == [[1, 2, 3, 9, 4, 5, 9, 6, 9]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 2, 3, 4, 0, 1]]
    assert packed.places.tolist() == [3, 6, 8]
    assert packed.attended_lengths.tolist() == [4, 5, 2]
    #                                      [1  2  3  9][1  2  4  5  9][6  9]
    assert packed.attended_index.tolist() == [0, 1, 2, 3, 0, 1, 4, 5, 6, 7, 8]
    assert packed.attended_index[packed.stored_index].tolist() == list(range(9))


def scores_and_gradients(language_model, packed):
    net = from_language_model(language_model, torch.Generator().manual_seed(1))
    net.zero_grad()
    scores = net(packed)
    (scores * torch.arange(1, len(scores) + 1)).sum().backward()
    return scores.detach(), [weight.grad.clone() for weight in net.parameters()]


def test_scores_and_gradients_equal_those_of_conversations_alone(language_model):
    scores, gradients = scores_and_gradients(language_model, pack_groups(GROUPS))
    unshared, unshared_gradients = scores_and_gradients(language_model, pack_groups(GROUPS, share_prompts=False))
    torch.testing.assert_close(scores, unshared, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(gradients, unshared_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    net = from_language_model(language_model, torch.Generator().manual_seed(1))
    alone = [net(pack_groups([Group(group.prompt, [reply])])) for group in GROUPS for reply in group.replies]
    torch.testing.assert_close(scores, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_replies_of_two_lengths_have_two_prompts_under_dynamic_positions(language_model):
    net = from_language_model(language_model, torch.Generator().manual_seed(1))
    net.model.rope.size = replace(net.size, max_positions=4, rope_scaling="dynamic", rope_factor=2.0)
    alone = [net(pack_groups([Group(group.prompt, [reply])])) for group in GROUPS for reply in group.replies]
    torch.testing.assert_close(net(pack_groups(GROUPS)), torch.cat(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share_prompts", [True, False])
def test_nothing_is_padded(share_prompts):
    packed = pack_groups(GROUPS, share_prompts=share_prompts)
    conversations = sum(len(g.prompt) + len(reply) for g in GROUPS for reply in g.replies)
    assert packed.input_ids.numel() == (sum(g.stored_tokens for g in GROUPS) if share_prompts else conversations)
    assert len(packed.attended_index) == conversations


def test_one_reply_does_not_see_another(language_model):
    net = from_language_model(language_model, torch.Generator().manual_seed(1))
    first = net(pack_groups([Group([1, 2], [[3, 7], [4, 7]])]))
    second = net(pack_groups([Group([1, 2], [[3, 7], [200, 100, 7]])]))
    torch.testing.assert_close(first[0], second[0])
    assert abs(first[1] - second[1]) > 1e-3
