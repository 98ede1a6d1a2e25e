"""A small SFT model on disk with instructions and preferences, and jobs that run in seconds."""

import json
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from internlm2_align import ConversationEncoder, PPOSystem, PreferenceData, PromptData, RewardModel
from internlm2_align.jobs import label, ppo, reward
from internlm2_align.labelling.sources import Instructions
from internlm2_align.miniature import SimulatedAnnotator, WrittenCandidates
from internlm2_align.ppo.callbacks import SaveActors
from internlm2_align.ppo.health import Health
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.ppo.store import SaveRollouts
from internlm2_align.reward.callbacks import Curve, SaveReward
from internlm2_align.reward.conditions import Conditions, conditions_beside
from internlm2_align.reward.network import start_reward
from internlm2_align.reward.pairs import PairBatches
from internlm2_align.roles import local_roles
from internlm2_core.callbacks import Checkpoints
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.optim import Cosine
from internlm2_core.text import load_tokenizer

CONDITIONS = Conditions({name: {"en": name[:2]} for name in ("maths", "format", "helpful", "harmless")})
ADAMW = partial(torch.optim.AdamW, lr=2e-3)
TRAINER = partial(
    L.Trainer,
    accelerator="cpu",
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    use_distributed_sampler=False,
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
def run_reward():
    """The job `reward`, composed as its recipe composes it."""

    def run(checkpoint, preferences, heldout, output, max_steps=-1, hard_gap=None, optimizer=ADAMW, **data):
        encoder = ConversationEncoder(load_tokenizer(checkpoint), CONDITIONS, 256)
        module = RewardModel(
            partial(start_reward, checkpoint),
            encoder,
            optimizer=optimizer,
            schedule=Cosine(-1, floor=0.5),
        )
        saver = Checkpoints(Path(output) / "checkpoints", every_n_train_steps=3)
        callbacks = [SaveReward(Path(output) / "model"), Curve(), saver]
        trainer = TRAINER(max_steps=max_steps, max_epochs=1, limit_val_batches=0, callbacks=callbacks)
        pairs = PreferenceData(preferences, encoder, PairBatches(2000), heldout, **data)
        return reward(module, pairs, trainer, output, 1, checkpoint, hard_gap)

    return run


@pytest.fixture
def run_ppo(instructions):
    """The job `ppo`, composed as its recipe composes it."""

    def run(checkpoint, reward, output, judge=True, warmup_iterations=1, snapshots=(2,), early_share=None,
            roles=local_roles, engine=LocalEngine, **changes):  # fmt: skip
        keys = {"prompts": instructions[0], "heldout": instructions[1], "heldout_limit": 8, "queries": 6}
        keys |= {"iterations": 4, "domains": {"arithmetic": "maths", "secret": "harmless"}}
        trained = {"max_epochs": 1, "val_check_interval": 2, "num_sanity_val_steps": -1}
        trained |= {name: changes.pop(name) for name in list(changes) if name in (*trained, "max_steps")}
        encoder = ConversationEncoder(load_tokenizer(checkpoint), conditions_beside(reward), 256)
        system = PPOSystem(
            roles(checkpoint, reward),
            encoder,
            engine=engine,
            sampling=Sampling(max_new_tokens=5, top_p=0.9),
            settings=PPOSettings(warmup_iterations=warmup_iterations),
            actor_optimizer=partial(torch.optim.AdamW, lr=1e-3),
            critic_optimizer=partial(torch.optim.AdamW, lr=1e-3),
            judge=SimulatedAnnotator() if judge else None,
        )
        kept = [SaveActors(output, snapshots, early_share), SaveRollouts(Path(output) / "rollouts"), Health()]
        callbacks = [*kept, Checkpoints(Path(output) / "checkpoints")]
        data = PromptData(encoder=encoder, **(keys | changes))
        return ppo(system, data, TRAINER(callbacks=callbacks, **trained), output, 1, checkpoint, reward)

    return run


@pytest.fixture
def labelled(tmp_path, instructions):
    source = Instructions(*instructions, candidates=WrittenCandidates)
    label(SimulatedAnnotator(), source, str(tmp_path / "label"))
    return [str(tmp_path / "label" / f"{name}.jsonl") for name in ("train", "heldout")]


@pytest.fixture
def reward_folder(tmp_path, sft, labelled, run_reward):
    run_reward(sft, labelled[:1], labelled[1:], str(tmp_path / "reward"))
    return tmp_path / "reward"
