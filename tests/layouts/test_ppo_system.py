"""align's PPOSystem under every layout that trains the LM, but for rows and stages over ranks.

Replies are chosen greedily, so that ranks and one process see the same; with one mini-batch the steps are the same too.
Replies of the second rank's prompts are longer: ranks need other numbers of tokens, of passes and of micro-batches.
"""

from dataclasses import replace
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
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.shares import share_of
from internlm2_core.text.tokenizer import ByteTokenizer
from internlm2_parallel import MeshStrategy
from internlm2_parallel.layout import Layout
from internlm2_parallel.pipeline import whole_state
from internlm2_parallel.testing import LAYOUTS, RankError, quiet_trainer, run_ranks
from internlm2_parallel.testing.table import Case

ENCODER = ConversationEncoder(ByteTokenizer(), Conditions({"maths": {"en": "MM"}, "format": {"en": "F"}}), 200)
NETS = ("actor", "critic", "reference", "reward")
CASES = {
    **{name: LAYOUTS[name] for name in ("ddp", "zero1", "zero2", "fsdp", "hsdp", "tensor", "tensor_sequence")},
    "fsdp x tensor": Case(Layout(shard=2, tensor=2)),
}
GREEDY = Sampling(max_new_tokens=4, temperature=0)
STEPS = 3


def prompts() -> list[Prompt]:
    found = []
    for index in range(8):
        messages = ({"role": "user", "content": "x" * (25 if index % 2 else 1) + str(index)},)
        domain = "maths" if index % 2 else "format"
        found.append(Prompt(messages, tuple(ENCODER.chat.prompt(messages)), domain))
    return found


class Uneven:
    """Answers long prompts with ``max_new_tokens``, short ones with one token less."""

    def __init__(self, net: LanguageModel) -> None:
        self.engine = LocalEngine(net)

    def generate(self, prompts, sampling):
        found = {}
        for less, rows in enumerate([i for i, ids in enumerate(prompts) if (len(ids) > 30) == far] for far in (1, 0)):
            own = replace(sampling, max_new_tokens=sampling.max_new_tokens - less)
            found |= dict(zip(rows, self.engine.generate([prompts[row] for row in rows], own), strict=True))
        return [found[row] for row in range(len(prompts))]


class Texts:
    """Pre-training rows of one rank, together half as many tokens as the 8 replies of 3 or 4."""

    def __init__(self, rank: int, size: int) -> None:
        ids = torch.randint(0, 200, (4, 4), generator=torch.Generator().manual_seed(0))
        batch = {"input_ids": ids, "labels": ids.roll(-1, 1), "position_ids": torch.arange(4).expand(4, 4)}
        self.batch = {name: value[rank::size] for name, value in batch.items()}

    def __iter__(self):
        yield self.batch


class InOrder(QueryLoader):
    """Always the same prompts for the same rank."""

    def of_iteration(self, number: int) -> list[Prompt]:
        return list(self.prompts[self.dp_rank :: self.dp_size])


class Queries(L.LightningDataModule):
    def __init__(self, loader=InOrder) -> None:
        super().__init__()
        self.loader = loader

    def train_dataloader(self) -> QueryLoader:
        share = share_of(self.trainer)
        rank, size = share["rank"], share["num_replicas"]
        return self.loader(prompts(), 8, STEPS, pretrain=Texts(rank, size), dp_rank=rank, dp_size=size)

    def val_dataloader(self) -> HeldOutQueries:
        share = share_of(self.trainer)
        return HeldOutQueries(prompts(), 8, share["rank"], share["num_replicas"])


class SaveAfterTwo(L.Callback):
    def __init__(self, path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer, system, *_) -> None:
        if system.iteration == 2:
            trainer.save_checkpoint(self.path)


def train(
    make_model, strategy, devices, sampling=GREEDY, save=None, resume=None, iterations=STEPS, engine=Uneven,
    loader=InOrder, **roles,
):  # fmt: skip
    """Train in this process or rank. Returns history and whole weights of the actor, the latter on the first rank."""
    torch.set_num_threads(1)

    def reward():
        return from_language_model(make_model(), torch.Generator().manual_seed(5))

    system = PPOSystem(
        Roles(make_model, lambda: without_head(reward()), reference=make_model, reward=reward, **roles),
        ENCODER,
        engine=engine,
        sampling=sampling,
        settings=PPOSettings(warmup_iterations=1, max_grad_norm=0.5, micro_batch_tokens=110),
        actor_optimizer=partial(torch.optim.AdamW, lr=1e-3),
        critic_optimizer=partial(torch.optim.AdamW, lr=1e-3),
    )
    callbacks = [SaveAfterTwo(save)] if save else []
    options = {"num_sanity_val_steps": 0, "limit_train_batches": iterations}
    trainer = quiet_trainer(strategy, devices, callbacks=callbacks, **options)
    trainer.fit(system, datamodule=Queries(loader), ckpt_path=resume)
    ranks = getattr(trainer.strategy, "ranks", None)
    weights = whole_state(system.actor, ranks.pipeline) if ranks else system.actor.state_dict()
    return system.history, {name: weight.clone() for name, weight in weights.items()}


def on_ranks(make_model, case: Case, nets=NETS, **how):
    def rank():
        return train(make_model, MeshStrategy(case.layout, case.treatment, nets=nets), case.ranks, **how)

    return run_ranks(rank, case.ranks, join=False, deadline_s=300)


def assert_equal(found, alone) -> None:
    history, weights = alone
    for rank, (ours, shards) in enumerate(found):
        assert len(ours) == len(history)
        for entry, expected in zip(ours, history, strict=True):
            assert entry == pytest.approx(expected, abs=1e-5)
        assert bool(shards) == (rank == 0)  # gathered on the first rank
        for name, weight in shards.items():
            torch.testing.assert_close(weight, weights[name], atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def alone(make_model):
    """What one process makes of it."""
    history, weights = train(make_model, "auto", 1)
    assert [entry["iteration"] for entry in history] == [1, 2, 3, 3]
    return history, weights


HEAVY = ("hsdp", "tensor", "tensor_sequence", "fsdp x tensor")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in HEAVY)) for n in CASES])
def test_every_layout_trains_as_one_process_does(name, make_model, alone, tmp_path):
    """And what it has saved on its way is continued under two others."""
    assert_equal(on_ranks(make_model, CASES[name], save=tmp_path / "two.ckpt"), alone)
    for other in ("fsdp", "ddp" if name != "ddp" else "zero1"):
        assert_equal(on_ranks(make_model, CASES[other], resume=tmp_path / "two.ckpt"), alone)


DRAWN = Sampling(max_new_tokens=4, temperature=1.5)


def test_tensor_ranks_draw_what_one_process_draws(make_model):
    how = {"sampling": DRAWN, "iterations": 2}
    alone = train(make_model, "auto", 1, **how)
    for name, sample_with in (("tensor", "shards"), ("tensor_sequence", "copies")):
        assert_equal(on_ranks(make_model, CASES[name], sample_with=sample_with, **how), alone)


def test_shards_sample_what_whole_weights_sample(make_model):
    """Ranks whose replies are shorter make passes for nothing until the others are done."""
    [(history, weights), _] = on_ranks(make_model, CASES["ddp"], sampling=DRAWN)
    assert_equal(on_ranks(make_model, CASES["fsdp"], sampling=DRAWN, sample_with="shards"), (history, weights))


class Watched(Uneven):
    """Notes how often this rank passes a copy, and the bytes of it that it holds. The last copy stays."""

    passes = 0

    def __init__(self, net: LanguageModel) -> None:
        super().__init__(net)
        net.register_forward_hook(self.note)
        Watched.net, Watched.held = net, sum(weight.to_local().nbytes for weight in net.parameters())

    def note(self, *_) -> None:
        Watched.passes += 1


class ByLength(InOrder):
    """Of four ranks the first two ask all short prompts, the others all long ones."""

    def of_iteration(self, number: int) -> list[Prompt]:
        order = sorted(self.prompts, key=lambda prompt: len(prompt.ids))
        share = len(order) // self.dp_size
        return order[self.dp_rank * share : (self.dp_rank + 1) * share]


GROUPS = {"sample_with": "groups", "group_size": 2}


def test_groups_of_ranks_share_a_copy_and_do_not_wait_for_each_other(make_model, alone):
    def rank():
        how = {"engine": Watched, "loader": ByLength, **GROUPS}
        trained = train(make_model, MeshStrategy(Layout(shard=4), nets=NETS), 4, **how)
        left = sum(weight.to_local().untyped_storage().nbytes() for weight in Watched.net.parameters())
        return trained, Watched.passes, (Watched.held, left)

    whole = sum(weight.nbytes for weight in make_model().parameters())
    trained, passes, held = zip(*run_ranks(rank, 4, join=False, deadline_s=300), strict=True)
    assert_equal(trained, alone)
    assert set(held) == {(whole // 2, 0)}
    assert passes[0] == passes[1] < passes[2] == passes[3]


def test_a_tensor_group_shares_a_copy(make_model, alone):
    for history, _ in on_ranks(make_model, CASES["tensor"], iterations=1, **GROUPS):
        assert history[0] == pytest.approx(alone[0][0], abs=1e-5)


def test_frozen_roles_may_be_whole_and_wait_in_host_memory(make_model, alone):
    """On CPU the host is where they are anyway. This shows that they are moved without harm."""
    offloaded = ("reference", "reward")
    assert_equal(on_ranks(make_model, CASES["fsdp"], nets=("actor", "critic"), offloaded=offloaded), alone)
    assert_equal(on_ranks(make_model, CASES["fsdp"], offloaded=offloaded), alone)


@pytest.mark.parametrize(
    ("layout", "changes", "said"),
    [
        (Layout(context=2), {}, r"spreads them over ranks: splits_rows=True\. Take fsdp"),
        (Layout(pipeline=2), {}, r"spreads them over ranks: has_stages=True\. Take fsdp"),
        (Layout(tensor=2, sequence_parallel=True), {"sample_with": "shards"}, r"whole copies of the weights, or seq"),
        (Layout(shard=2), {"nets": ("actor",)}, r"critic of PPOSystem is trained.*nets must name it beside actor\."),
    ],
    ids=["rows", "stages", "sequence", "a trained network left out"],
)
def test_layouts_that_do_not_fit_are_refused(layout, changes, said, make_model):
    with pytest.raises(RankError, match=said):
        on_ranks(make_model, Case(layout), **changes)
