"""RLOO and DPO on two ranks, with whole and with sharded weights, as in one process."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial

import lightning as L
import pytest
import torch
from internlm2_align import ConversationEncoder, PreferenceData
from internlm2_align.actors import start_actor
from internlm2_align.baselines import RLOOSystem
from internlm2_align.baselines.dpo import DPO, SaveDPO, WholePairs
from internlm2_align.jobs import dpo as dpo_job
from internlm2_align.ppo.critic import without_head
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.preferences.preference import Preference, to_record
from internlm2_align.reward.network import from_language_model
from internlm2_align.reward.pairs import encode_pairs
from internlm2_align.roles import Roles
from internlm2_core.checkpoint import save_released
from internlm2_core.generation import LocalEngine
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.shares import share_of
from internlm2_core.text import load_tokenizer
from internlm2_parallel import MeshStrategy
from internlm2_parallel.pipeline import whole_state
from internlm2_parallel.testing import LAYOUTS, quiet_trainer, run_ranks

from tests.layouts.test_ppo_system import ENCODER, GREEDY, Queries, assert_equal

ADAMW = partial(torch.optim.AdamW, lr=1e-3)


class Distinct:
    """Answers a prompt that is asked again with other letters: the replies of a group differ, on any number of ranks."""

    def __init__(self, net: LanguageModel) -> None:
        self.engine = LocalEngine(net)

    def generate(self, prompts, sampling):
        seen, rows = Counter(), defaultdict(list)
        for row, prompt in enumerate(map(tuple, prompts)):
            rows[seen[prompt]].append(row)
            seen[prompt] += 1
        found = {}
        for time, mine in rows.items():
            own = replace(sampling, never_ids=(*sampling.never_ids, *range(time * 60, time * 60 + 60)))
            found |= dict(zip(mine, self.engine.generate([prompts[row] for row in mine], own), strict=True))
        return [found[row] for row in range(len(prompts))]


def rloo(make_model, strategy, devices):
    def reward():
        return from_language_model(make_model(), torch.Generator().manual_seed(5))

    system = RLOOSystem(
        Roles(make_model, lambda: without_head(reward()), reference=make_model, reward=reward),
        ENCODER,
        engine=Distinct,
        sampling=GREEDY,
        settings=PPOSettings(warmup_iterations=0, max_grad_norm=0.5, micro_batch_tokens=110),
        actor_optimizer=ADAMW,
        replies=2,
    )
    return fitted(system, Queries(), strategy, devices, num_sanity_val_steps=0)


PAIRS = [
    Preference("maths", ({"role": "user", "content": f"question {n}"},), "yes" * n, "no" * (9 - n)) for n in range(1, 9)
]


class Pairs(L.LightningDataModule):
    def train_dataloader(self):
        loader = WholePairs(10_000, seed=1).loader(encode_pairs(PAIRS, ENCODER, Counter()))
        share = share_of(self.trainer)
        steps = [[(4 * step + place) % 8 for place in range(4)] for step in range(3)]
        return Steps([loader._batch(step[share["rank"] :: share["num_replicas"]]) for step in steps])


class Steps:
    """Lightning would take a plain list for several loaders."""

    def __init__(self, batches) -> None:
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Recorded(DPO):
    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        logged = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        self.history = [*getattr(self, "history", []), logged]


def dpo(make_model, strategy, devices):
    module = Recorded(make_model, ENCODER, ADAMW, max_grad_norm=0.5, micro_batch_tokens=400)
    return fitted(module, Pairs(), strategy, devices)


def fitted(module, data, strategy, devices, **options):
    torch.set_num_threads(1)
    trainer = quiet_trainer(strategy, devices, **options)
    trainer.fit(module, datamodule=data)
    ranks = getattr(trainer.strategy, "ranks", None)
    weights = whole_state(module.actor, ranks.pipeline) if ranks else module.actor.state_dict()
    return module.history, {name: weight.clone() for name, weight in weights.items()}


NETS = {rloo: ("actor", "reference", "reward"), dpo: ("actor", "reference")}


@pytest.mark.parametrize("train", NETS, ids=lambda train: train.__name__)
def test_two_ranks_train_as_one_process_does(train, make_model):
    alone = train(make_model, "auto", 1)
    begun = make_model().state_dict()
    assert any((weight - begun[name]).abs().max() > 1e-3 for name, weight in alone[1].items())
    for name in ("ddp", "fsdp"):
        case = LAYOUTS[name]

        def rank(case=case):
            return train(make_model, MeshStrategy(case.layout, case.treatment, nets=NETS[train]), case.ranks)

        assert_equal(run_ranks(rank, case.ranks, join=False, deadline_s=300), alone)


def run_job(folder, strategy, devices):
    torch.set_num_threads(1)
    sft, output = str(folder / "sft"), folder / f"dpo-{devices}"
    encoder = ConversationEncoder(load_tokenizer(sft), ENCODER.conditions, 256)
    module = DPO(partial(start_actor, sft), encoder, ADAMW)
    data = PreferenceData(folder / "pairs.jsonl", encoder, WholePairs(300), heldout_share=0.4, folder=folder / "pairs")
    trainer = quiet_trainer(strategy, devices, callbacks=[SaveDPO(output / "model")], limit_val_batches=0)
    return dpo_job(module, data, trainer, str(output), 1, sft)


def test_the_first_of_two_ranks_measures_a_sharded_actor_alone(tmp_path, make_model, tokenizer_file):
    net, case = make_model(), LAYOUTS["fsdp"]
    save_released(tmp_path / "sft", net.size, net.state_dict().items(), tokenizer_file)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(to_record(pair)) + "\n" for pair in PAIRS))

    def rank():
        return run_job(tmp_path, MeshStrategy(case.layout, case.treatment, nets=NETS[dpo], deferred=True), 2)

    alone, (first, second) = run_job(tmp_path, "auto", 1), run_ranks(rank, 2, join=False, deadline_s=60)
    assert second == {} and first == json.loads((tmp_path / "dpo-2" / "metrics.json").read_text())
    assert first["pairs"] == alone["pairs"] and first["heldout"]["pairs"] == alone["heldout"]["pairs"] > 0
    assert abs(first["heldout"]["margin"]) > 1e-4
