"""Recomputed and compiled blocks give the gradients of plain ones."""

from copy import deepcopy

import pytest
import torch
from internlm2_core import LanguageModel, LocalEngine, Sampling
from internlm2_core.nn.compiled import Compile, compile_network
from internlm2_core.nn.recompute import recompute_blocks

Packed = tuple[torch.Tensor, torch.Tensor]


def gradients(net: LanguageModel, packed: Packed) -> list[torch.Tensor]:
    ids, positions = packed
    net.zero_grad()
    net(ids, positions, labels_BT=ids.roll(-1, 1)).cross_entropy.backward()
    return [weight.grad for weight in net.parameters()]


def kept(net: LanguageModel, packed: Packed) -> int:
    """Bytes that the forward pass keeps for the backward pass."""
    stored: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        net(packed[0], packed[1], labels_BT=packed[0])
    return sum(stored.values())


@pytest.mark.parametrize("what", ["selective", "full"])
def test_gradients_stay(net: LanguageModel, packed: Packed, what: str) -> None:
    other = deepcopy(net)
    recompute_blocks(other.model.layers, what)
    torch.testing.assert_close(gradients(other, packed), gradients(net, packed))
    assert list(other.state_dict()) == list(net.state_dict())


@pytest.mark.parametrize("what", ["selective", "full"])
def test_dropout_draws_the_same_again(what: str) -> None:
    block = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 8))
    other, x = deepcopy(block), torch.randn(4, 8)
    recompute_blocks([other], what)
    found = []
    for each in (block, other):
        torch.manual_seed(3)
        each(x).sum().backward()
        found.append([weight.grad for weight in each.parameters()])
    torch.testing.assert_close(*found)


def test_full_keeps_less_the_more_blocks_it_covers(net: LanguageModel, packed: Packed) -> None:
    half, all_ = deepcopy(net), deepcopy(net)
    recompute_blocks(half.model.layers, "full", every=2)
    recompute_blocks(all_.model.layers, "full")
    assert kept(all_, packed) < kept(half, packed) < kept(net, packed)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "recompute"), [("blocks", "none"), ("net", "none"), ("net", "full")])
def test_compiled(net: LanguageModel, packed: Packed, what: Compile, recompute: str) -> None:
    other = deepcopy(net)
    recompute_blocks(other.model.layers, recompute)
    compile_network(other, what)
    torch.testing.assert_close(gradients(other, packed), gradients(net, packed), atol=1e-5, rtol=1e-4)
    # Other documents in rows of the same size do not compile again, and generation does not compile at all.
    from torch._dynamo.utils import counters

    counters.clear()
    positions = torch.tensor([[*range(7), *range(9)], [*range(3), *range(3), *range(10)]])
    net_grads = gradients(net, (packed[0], positions))
    torch.testing.assert_close(gradients(other, (packed[0], positions)), net_grads, atol=1e-5, rtol=1e-4)
    greedy = Sampling(max_new_tokens=4, temperature=0)
    assert LocalEngine(other).generate([[5, 6], [7]], greedy) == LocalEngine(net).generate([[5, 6], [7]], greedy)
    assert counters["stats"]["unique_graphs"] == 0


def test_unknown_parts_are_not_compiled(net: LanguageModel) -> None:
    with pytest.raises(ValueError, match=r"compile='all' must be one of none, blocks, net"):
        compile_network(net, "all")


def test_unknown_words_are_refused(net: LanguageModel) -> None:
    with pytest.raises(ValueError, match=r"recompute='some' must be one of none, selective, full"):
        recompute_blocks(net.model.layers, "some")
    with pytest.raises(ValueError, match=r"recompute_every=0"):
        recompute_blocks(net.model.layers, "full", every=0)
