"""The loss is that of the global batch, however it is cut."""

from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.batch import Batch
from internlm2_core.optim import Constant, Cosine, decay_groups
from torch.utils.data import DataLoader

SIZE = ModelSize(layers=1, dim=16, num_kv_heads=1, q_per_kv=2, ffn_dim=24, vocab_size=60, head_dim=8, max_positions=16)


def batches(steps: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(5)
    made: list[Batch] = []
    for _ in range(steps):
        ids = torch.randint(0, 60, (4, 12), generator=generator)
        labels = ids.roll(-1, 1)
        # Rows with very unequal numbers of loss tokens: a mean of means would differ.
        labels[0, 2:] = -100
        labels[3, :9] = -100
        made.append({"input_ids": ids, "labels": labels, "position_ids": torch.arange(12).expand(4, 12).contiguous()})
    return made


class Record(L.Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.losses.append(float(outputs["loss"]))


def train(
    micro_batch_rows: int = 0, steps: int = 4, data: list[Batch] | None = None, **settings: Any
) -> tuple[list[float], LM]:
    def make() -> LanguageModel:
        net = LanguageModel(SIZE)
        net.init_weights(torch.Generator().manual_seed(0))
        return net

    adamw = partial(torch.optim.AdamW, lr=1e-2)
    module = LM(make, adamw, Cosine(steps), micro_batch_rows=micro_batch_rows, **settings)
    record = Record()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(accelerator="cpu", max_steps=steps, callbacks=[record], **quiet)
    trainer.fit(module, DataLoader(data or batches(steps), batch_size=None))
    assert trainer.global_step == steps
    return record.losses, module


def test_micro_batches_change_nothing() -> None:
    whole, one = train()
    for rows in (1, 2, 3):
        losses, module = train(micro_batch_rows=rows)
        assert losses == pytest.approx(whole, abs=1e-5)
        torch.testing.assert_close(module.net.state_dict(), one.net.state_dict(), atol=1e-5, rtol=1e-4)


def test_first_loss_is_the_mean_over_loss_tokens() -> None:
    losses, _ = train(steps=1)
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(0))
    batch = batches(1)[0]
    logits = net(batch["input_ids"])
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)
    assert losses[0] == pytest.approx(float(expected), abs=1e-5)


def test_training_learns() -> None:
    losses, _ = train(steps=40, data=batches(1) * 40)
    assert losses[-1] < losses[0] - 1


def test_z_loss_reaches_the_gradient() -> None:
    _, plain = train(steps=1)
    _, with_z = train(steps=1, z_loss=1.0)
    assert not torch.allclose(plain.net.output.weight, with_z.net.output.weight)


def test_a_vocabulary_smaller_than_the_tokenizers_is_refused() -> None:
    module = LM(lambda: LanguageModel(SIZE), partial(torch.optim.AdamW, lr=1e-3), Constant())
    with pytest.raises(ValueError, match=r"61 ids but the model 60 rows; set model\.size\.vocab_size=61"):
        module.check_vocabulary(61)


def test_norms_do_not_decay() -> None:
    decayed, kept = decay_groups(LanguageModel(SIZE), 0.1)
    assert all(weight.ndim > 1 for weight in decayed["params"])
    assert [weight.shape for weight in kept["params"]] == [(16,)] * 3
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


def test_cosine_by_hand() -> None:
    schedule = Cosine(total_steps=12, warmup_steps=2, floor=0.1)
    assert [schedule(0), schedule(1), schedule(2)] == [0.5, 1.0, 1.0]
    assert schedule(7) == pytest.approx(0.1 + 0.9 * 0.5)
    assert schedule(12) == schedule(100) == pytest.approx(0.1)


def test_a_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"warmup_steps=20 does not fit into total_steps=10; set schedule\.warmup_steps"
    ):
        Cosine(total_steps=10, warmup_steps=20)
