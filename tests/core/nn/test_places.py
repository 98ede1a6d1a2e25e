"""States of some tokens alone: what the last block leaves out does not change them."""

import pytest
import torch
from internlm2_core.nn.cache import KeyValueCache
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.recompute import recompute_blocks
from internlm2_core.nn.transformer import states_at
from internlm2_core.sizes import ModelSize

SIZE = ModelSize(2, 32, 2, 2, 64, 50, head_dim=8)
IDS = torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(0))
POSITIONS = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8]])
PLACES = torch.tensor([2, 3, 3, 8, 16])


def network(rope_scaling="none"):
    size = ModelSize(**{**vars(SIZE), "rope_scaling": rope_scaling, "max_positions": 4, "rope_factor": 2.0})
    net = LanguageModel(size)
    net.init_weights(torch.Generator().manual_seed(1), std=0.2)
    return net


def gradients(net, states_ND):
    net.zero_grad()
    (states_ND * torch.arange(1.0, 1 + states_ND.numel()).view_as(states_ND).sin()).sum().backward()
    return {name: weight.grad.clone() for name, weight in net.model.named_parameters()}


@pytest.mark.parametrize("rope_scaling", ["none", "dynamic"])
@pytest.mark.parametrize("recompute", ["none", "full"])
def test_states_and_gradients_are_those_of_the_whole_pass(rope_scaling, recompute):
    net = network(rope_scaling)
    whole_ND = net.model(IDS, POSITIONS).flatten(0, 1)[PLACES]
    expected = gradients(net, whole_ND)
    recompute_blocks(net.model.layers, recompute)
    found_ND = net.model(IDS, POSITIONS, places_N=PLACES)
    torch.testing.assert_close(found_ND, whole_ND)
    torch.testing.assert_close(gradients(net, found_ND), expected, atol=1e-5, rtol=1e-5)


def test_the_last_block_multiplies_the_wanted_tokens_alone():
    net, rows = network(), []
    net.model.layers[-1].feed_forward.register_forward_hook(lambda _, args, out: rows.append(out.shape[:2].numel()))
    net(IDS, POSITIONS, places_N=PLACES)
    net(IDS, POSITIONS, places_N=PLACES, labels_BT=IDS)  # a loss reads all of them
    assert rows == [len(PLACES), IDS.numel()]


def test_a_cache_holds_the_keys_of_all_tokens():
    net = network()
    with torch.no_grad():
        logits_N = []
        for places in (torch.tensor([8, 17]), None):
            cache = KeyValueCache(2, 2, 10, torch.device("cpu"))
            net(IDS, cache=cache, places_N=places)
            logits_N.append(net(IDS[:, :1], cache=cache))
    torch.testing.assert_close(*logits_N)


def test_a_trunk_may_give_all_states():
    hidden_BTD = torch.arange(36.0).view(2, 9, 2)
    assert states_at(hidden_BTD, PLACES).tolist() == hidden_BTD.flatten(0, 1)[PLACES].tolist()
    assert states_at(hidden_BTD[0, :5], PLACES).tolist() == hidden_BTD[0, :5].tolist()
