"""align's PPOSystem under the layouts that it supports: those that keep whole weights on each rank while they compute.

Replies are chosen greedily, so that ranks and one process see the same; with one mini-batch the steps are the same too.
"""

from functools import partial

import pytest
import torch
from internlm2_align import PPOSystem
from internlm2_align.ppo.critic import without_head
from internlm2_align.ppo.prompts import Prompt, Queries, QueryLoader
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import from_language_model
from internlm2_align.roles import Roles
from internlm2_core.generation import Sampling
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import ModelSize
from internlm2_core.text.tokenizer import ByteTokenizer
from internlm2_parallel import MeshStrategy
from internlm2_parallel.pipeline import whole_state
from internlm2_parallel.testing import LAYOUTS, quiet_trainer, run_ranks

SIZE = ModelSize(
    layers=2, dim=32, num_kv_heads=2, q_per_kv=2, ffn_dim=64, vocab_size=288, head_dim=8, max_positions=512
)
ENCODER = ConversationEncoder(ByteTokenizer(), Conditions({"maths": {"en": "MM"}, "format": {"en": "F"}}), 200)
NETS = ("actor", "critic", "reference", "reward")


def model() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in net.parameters():
            if weight.ndim > 1:
                weight.mul_(8)
    return net


def reward():
    return from_language_model(model(), torch.Generator().manual_seed(5))


def prompts() -> list[Prompt]:
    found = []
    for index in range(8):
        messages = ({"role": "user", "content": str(index)},)
        domain = "maths" if index % 2 else "format"
        found.append(Prompt(messages, tuple(ENCODER.chat.prompt(messages)), domain))
    return found


class Texts:
    """Pre-training rows of one rank."""

    def __init__(self, rank: int, size: int) -> None:
        ids = torch.randint(0, 200, (4, 16), generator=torch.Generator().manual_seed(0))
        batch = {"input_ids": ids, "labels": ids.roll(-1, 1), "position_ids": torch.arange(16).expand(4, 16)}
        self.batch = {name: value[rank::size] for name, value in batch.items()}

    def __iter__(self):
        yield self.batch


def queries(dp_rank: int, dp_size: int) -> QueryLoader:
    return QueryLoader(prompts(), 8, 5, pretrain=Texts(dp_rank, dp_size), dp_rank=dp_rank, dp_size=dp_size)


def train(strategy, devices: int):
    system = PPOSystem(
        Roles(actor=model, critic=lambda: without_head(reward()), reference=model, reward=reward),
        ENCODER,
        sampling=Sampling(max_new_tokens=5, temperature=0),
        settings=PPOSettings(warmup_iterations=1, mini_batches=1, max_grad_norm=0.5),
        actor_optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.0),
        critic_optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.0),
    )
    quiet_trainer(strategy, devices).fit(system, datamodule=Queries(queries, prompts(), 8))
    ranks = getattr(system.trainer.strategy, "ranks", None)
    weights = whole_state(system.actor, ranks.pipeline) if ranks else system.actor.state_dict()
    return system.history, {name: weight.clone() for name, weight in weights.items()}


def comparable(history):
    """Iterations, without the one figure that is no mean over responses: each rank explains the variance of its own."""
    left_out = "train/explained_variance"
    return [{k: v for k, v in entry.items() if k != left_out} for entry in history if "train/reward" in entry]


@pytest.mark.parametrize("name", ["ddp", "zero1"])
def test_iterations_and_weights_equal_one_process(name):
    torch.set_num_threads(1)
    reference, reference_weights = train("auto", 1)
    expected = comparable(reference)
    assert len(expected) == 5
    case = LAYOUTS[name]

    def rank():
        return train(MeshStrategy(case.layout, case.treatment, nets=NETS), case.ranks)

    for history, weights in run_ranks(rank, case.ranks, join=False):
        for ours, theirs in zip(comparable(history), expected, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)
        if weights:  # gathered on the first rank
            for key, weight in reference_weights.items():
                torch.testing.assert_close(weights[key], weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["fsdp", "tensor"])
def test_layouts_under_which_sampling_would_hang_are_refused(name):
    case = LAYOUTS[name]

    def rank():
        with pytest.raises(ValueError, match=r"samples with whole weights on each rank.*Set strategy=ddp"):
            train(MeshStrategy(case.layout, case.treatment, nets=NETS), case.ranks)
        return True

    assert all(run_ranks(rank, case.ranks, join=False))
