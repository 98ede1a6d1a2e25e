"""align's PPOSystem under the layouts that it supports: those that keep whole weights on each rank while they compute.

Replies are chosen greedily, so that ranks and one process see the same; with one mini-batch the steps are the same too.
"""

from functools import partial

import lightning as L
import pytest
import torch
from internlm2_align import PPOSystem
from internlm2_align.ppo.critic import without_head
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.ppo.prompts import HeldOutQueries, QueryLoader
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import from_language_model
from internlm2_align.roles import Roles
from internlm2_core.generation import Sampling
from internlm2_core.shares import share_of
from internlm2_core.text.tokenizer import ByteTokenizer
from internlm2_parallel import MeshStrategy
from internlm2_parallel.pipeline import whole_state
from internlm2_parallel.testing import LAYOUTS, quiet_trainer, run_ranks

ENCODER = ConversationEncoder(ByteTokenizer(), Conditions({"maths": {"en": "MM"}, "format": {"en": "F"}}), 200)
NETS = ("actor", "critic", "reference", "reward")


def prompts() -> list[Prompt]:
    found = []
    for index in range(8):
        messages = ({"role": "user", "content": "x" * (40 if index % 2 else 1) + str(index)},)
        domain = "maths" if index % 2 else "format"
        found.append(Prompt(messages, tuple(ENCODER.chat.prompt(messages)), domain))
    return found


class Texts:
    """Pre-training rows of one rank, together half as many tokens as the 8 replies of 5."""

    def __init__(self, rank: int, size: int) -> None:
        ids = torch.randint(0, 200, (4, 5), generator=torch.Generator().manual_seed(0))
        batch = {"input_ids": ids, "labels": ids.roll(-1, 1), "position_ids": torch.arange(5).expand(4, 5)}
        self.batch = {name: value[rank::size] for name, value in batch.items()}

    def __iter__(self):
        yield self.batch


class InOrder(QueryLoader):
    """Always the same prompts for the same rank."""

    def of_iteration(self, number: int) -> list[Prompt]:
        return list(self.prompts[self.dp_rank :: self.dp_size])


class Queries(L.LightningDataModule):
    def train_dataloader(self) -> QueryLoader:
        share = share_of(self.trainer)
        rank, size = share["rank"], share["num_replicas"]
        return InOrder(prompts(), 8, 5, pretrain=Texts(rank, size), dp_rank=rank, dp_size=size)

    def val_dataloader(self) -> HeldOutQueries:
        share = share_of(self.trainer)
        return HeldOutQueries(prompts()[share["rank"] :: share["num_replicas"]], 8)


def train(make_model, strategy, devices: int, micro_batch_tokens: int = 16_384):
    def reward():
        return from_language_model(make_model(), torch.Generator().manual_seed(5))

    system = PPOSystem(
        Roles(actor=make_model, critic=lambda: without_head(reward()), reference=make_model, reward=reward),
        ENCODER,
        sampling=Sampling(max_new_tokens=5, temperature=0),
        settings=PPOSettings(warmup_iterations=1, max_grad_norm=0.5, micro_batch_tokens=micro_batch_tokens),
        actor_optimizer=partial(torch.optim.AdamW, lr=1e-3),
        critic_optimizer=partial(torch.optim.AdamW, lr=1e-3),
    )
    quiet_trainer(strategy, devices).fit(system, datamodule=Queries())
    ranks = getattr(system.trainer.strategy, "ranks", None)
    weights = whole_state(system.actor, ranks.pipeline) if ranks else system.actor.state_dict()
    return system.history, {name: weight.clone() for name, weight in weights.items()}


@pytest.mark.parametrize("micro_batch_tokens", [16_384, 60], ids=["one micro-batch", "other numbers of them"])
@pytest.mark.parametrize("name", ["ddp", "zero1"])
def test_iterations_and_weights_equal_one_process(name, micro_batch_tokens, make_model):
    """The second rank's prompts are the long ones: with few tokens at once it makes more micro-batches."""
    torch.set_num_threads(1)
    reference, reference_weights = train(make_model, "auto", 1)
    assert [entry["iteration"] for entry in reference if "train/reward" in entry] == [1, 2, 3, 4, 5]
    case = LAYOUTS[name]

    def rank():
        strategy = MeshStrategy(case.layout, case.treatment, nets=NETS)
        return train(make_model, strategy, case.ranks, micro_batch_tokens)

    for history, weights in run_ranks(rank, case.ranks, join=False):
        for ours, theirs in zip(history, reference, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)
        if weights:  # gathered on the first rank
            for key, weight in reference_weights.items():
                torch.testing.assert_close(weights[key], weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["fsdp", "tensor"])
def test_layouts_under_which_sampling_would_hang_are_refused(name, make_model):
    case = LAYOUTS[name]

    def rank():
        with pytest.raises(
            ValueError,
            match=r"samples with whole weights on each rank, which MeshStrategy does not keep: .*=True\. Take ddp",
        ):
            train(make_model, MeshStrategy(case.layout, case.treatment, nets=NETS), case.ranks)
        return True

    assert all(run_ranks(rank, case.ranks, join=False))
