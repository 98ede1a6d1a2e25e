"""A small SFT model on disk with instructions and preferences, and recipes that run in seconds."""

import json
from functools import partial

import lightning as L
import pytest
import torch
from internlm2_align import PPOSystem, RewardModel
from internlm2_align.miniature import SimulatedAnnotator
from internlm2_align.ppo.recipe import PPORecipe
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.pairs import PairBatches
from internlm2_align.reward.recipe import RewardRecipe
from internlm2_align.roles import local_roles
from internlm2_core.generation import Sampling
from internlm2_core.optim import Cosine

CONDITIONS = Conditions({name: {"en": name[:2]} for name in ("maths", "format", "helpful", "harmless")})
TRAINER = partial(
    L.Trainer,
    accelerator="cpu",
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    use_distributed_sampler=False,
    num_sanity_val_steps=0,
)


@pytest.fixture
def sft(tmp_path, save_random_model):
    sizes = {"layers": 2, "dim": 32, "num_kv_heads": 2, "q_per_kv": 1, "ffn_dim": 64, "head_dim": 16}
    return str(save_random_model(tmp_path / "sft", max_positions=256, **sizes))


@pytest.fixture
def instructions(tmp_path, make_records):
    paths = []
    for name, start, count in (("train", 0, 20), ("heldout", 100, 5)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in make_records(count, start)))
        paths.append(str(path))
    return paths


@pytest.fixture
def reward_recipe():
    return RewardRecipe(
        conditions=CONDITIONS,
        batches=PairBatches(2000),
        module=partial(RewardModel, optimizer=partial(torch.optim.AdamW, lr=2e-3)),
        schedule=partial(Cosine, floor=0.5),
        trainer=TRAINER,
        max_tokens=256,
        checkpoint_every=3,
    )


@pytest.fixture
def ppo_recipe(instructions):
    return PPORecipe(
        module=partial(
            PPOSystem,
            sampling=Sampling(max_new_tokens=5, top_p=0.9),
            actor_optimizer=partial(torch.optim.AdamW, lr=1e-3),
            critic_optimizer=partial(torch.optim.AdamW, lr=1e-3),
        ),
        roles=local_roles,
        trainer=TRAINER,
        instructions=instructions[0],
        heldout=instructions[1],
        domains={"arithmetic": "maths", "secret": "harmless"},
        settings=PPOSettings(warmup_iterations=1),
        judge=SimulatedAnnotator(),
        queries=6,
        iterations=4,
        validate_every=2,
        snapshots=(2,),
        heldout_limit=8,
        max_tokens=256,
    )
