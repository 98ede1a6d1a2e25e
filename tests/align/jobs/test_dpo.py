"""The job `dpo` writes an actor and its figures, and has nothing left to do when it is run again."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from internlm2_align import ConversationEncoder, PreferenceData
from internlm2_align.actors import start_actor
from internlm2_align.baselines.dpo import DPO, SaveDPO, WholePairs
from internlm2_align.jobs import dpo
from internlm2_align.reward.conditions import Unconditional
from internlm2_core.callbacks import Checkpoints
from internlm2_core.checkpoint import load_released
from internlm2_core.text import load_tokenizer
from lightning import Trainer


@pytest.fixture
def run_dpo(sft, labelled, tmp_path):
    def run():
        output = str(tmp_path / "dpo")
        encoder = ConversationEncoder(
            load_tokenizer(sft), Unconditional(("maths", "format", "helpful", "harmless")), 256
        )
        module = DPO(partial(start_actor, sft), encoder, partial(torch.optim.AdamW, lr=1e-3))
        callbacks = [SaveDPO(Path(output) / "model"), Checkpoints(Path(output) / "checkpoints", every_n_train_steps=3)]
        trainer = Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False, limit_val_batches=0, callbacks=callbacks,
        )  # fmt: skip
        data = PreferenceData(labelled[:1], encoder, WholePairs(2000), labelled[1:])
        return dpo(module, data, trainer, output, 1, sft)

    return run


def test_dpo(run_dpo, tmp_path, sft):
    metrics = run_dpo()
    assert json.loads((tmp_path / "dpo" / "metrics.json").read_text()) == metrics
    assert metrics["heldout"]["accuracy"] > 0.6 and metrics["steps"] > 3 and metrics["tokens"] > 0
    weights = load_released(tmp_path / "dpo" / "model").state_dict()
    assert any(not torch.equal(weight, load_released(sft).state_dict()[name]) for name, weight in weights.items())
    again = run_dpo()
    assert again["steps"] == metrics["steps"] and again["heldout"] == pytest.approx(metrics["heldout"])
