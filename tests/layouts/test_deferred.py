"""Networks of core and align made on the meta device have the weights of one process under every layout."""

from functools import partial

import pytest
import torch
from internlm2_align.ppo.critic import start_critic
from internlm2_align.reward.conditions import load_conditions
from internlm2_align.reward.network import load_reward, save_reward, start_reward
from internlm2_core.checkpoint import load_released, save_released
from internlm2_core.checkpoint.start import start_model
from internlm2_parallel.mesh import Ranks
from internlm2_parallel.parallelize import parallelize
from internlm2_parallel.pipeline import whole_state
from internlm2_parallel.testing import LAYOUTS, run_ranks

MAKERS = ("random", "folder", "split", "split folder", "start_reward", "load_reward", "critic")


@pytest.fixture
def makers(tmp_path, make_model, tokenizer_file):
    net = make_model()
    save_released(tmp_path / "lm", net.size, net.state_dict().items(), tokenizer_file)
    reward = start_reward(tmp_path / "lm", seed=3)
    save_reward(tmp_path / "reward", net.size, reward.state_dict(), tokenizer_file, load_conditions(None))
    return {
        "random": partial(start_model, net.size, seed=5, std=0.1, embedding_std=1.0),
        "folder": partial(load_released, tmp_path / "lm"),
        "split": partial(start_model, net.size, seed=5, is_split=True),
        "split folder": partial(start_model, net.size, str(tmp_path / "lm"), is_split=True),
        "start_reward": partial(start_reward, tmp_path / "lm", seed=3),
        "load_reward": partial(load_reward, tmp_path / "reward"),
        "critic": partial(start_critic, tmp_path / "reward"),
    }


@pytest.mark.parametrize("layout", ["zero1", "fsdp x tensor_sequence"])
@pytest.mark.parametrize("maker", MAKERS)
def test_weights_equal_those_of_one_process(makers, maker, layout):
    case, make = LAYOUTS[layout], makers[maker]

    def rank():
        with torch.device("meta"):
            net = make()
        assert all(weight.is_meta for weight in net.parameters())
        ranks = Ranks.of(case.layout, "cpu")
        parallelize(net, ranks, case.treatment)
        return {name: tensor.numpy() for name, tensor in whole_state(net, ranks.pipeline).items()}

    expected, found = make().state_dict(), run_ranks(rank, case.ranks)[0]
    assert found.keys() == expected.keys()
    assert all(torch.equal(torch.from_numpy(found[name]), tensor) for name, tensor in expected.items())
