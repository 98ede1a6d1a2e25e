"""Figures of speed: real tokens, exact over stops, validation left out, both conventions of MFU."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.batch import Batch
from internlm2_core.callbacks import Throughput
from internlm2_core.callbacks.throughput import real_tokens
from torch.utils.data import DataLoader

Batches = Callable[[int], list[Batch]]


class Seen(L.Callback):
    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def fit(tiny: ModelSize, data: list[Batch], callback: Throughput, module: type[LM] = LM, **more: Any) -> Seen:
    seen, quiet = Seen(), {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=len(data),
        callbacks=[callback, seen],
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        **quiet,
        **more,
    )
    lm = module(lambda: LanguageModel(tiny), partial(torch.optim.AdamW, lr=1e-2))
    trainer.fit(lm, DataLoader(data, batch_size=None), DataLoader(data[:1], batch_size=None) if more else None)  # type: ignore[arg-type]
    return seen


def padded() -> Batch:
    """Two rows of 8: documents of 3 and 2 tokens and 3 of padding, and a row of padding."""
    positions = torch.tensor([[0, 1, 2, 0, 1, 0, 1, 2], [*range(8)]])
    labels = torch.tensor([[5, 6, -100, 7, -100, -100, -100, -100], [-100] * 8])
    return {"input_ids": torch.ones(2, 8, dtype=torch.int64), "labels": labels, "position_ids": positions}


def test_padding_is_no_token(tiny: ModelSize) -> None:
    assert int(real_tokens(padded())) == 5
    counted = Throughput(window_steps=1)
    seen = fit(tiny, [padded()] * 3, counted)
    assert counted.consumed_tokens == 15 and seen.rows[-1]["train/tokens"] == 15
    assert seen.rows[-1]["train/padding"] == pytest.approx(11 / 16)


def test_no_token_is_lost_at_a_stop_or_at_the_end(tiny: ModelSize, batches: Batches) -> None:
    tokens = [int(real_tokens(batch)) for batch in batches(25)]
    first = Throughput(window_steps=10)
    seen = fit(tiny, batches(25), first)
    assert first.consumed_tokens == sum(tokens) == seen.rows[-1]["train/tokens"]

    class Ask(L.Callback):
        """As a checkpoint in the middle of a window does."""

        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.global_step == 15:
                self.state = asked.state_dict()

    asked, ask = Throughput(window_steps=10), Ask()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", max_steps=25, callbacks=[asked, ask], enable_checkpointing=False, **quiet)  # type: ignore[arg-type]
    trainer.fit(LM(lambda: LanguageModel(tiny)), DataLoader(batches(25), batch_size=None))  # type: ignore[arg-type]
    assert ask.state == {"consumed_tokens": sum(tokens[:15])} and asked.consumed_tokens == sum(tokens)
    resumed = Throughput(window_steps=10)
    resumed.load_state_dict(ask.state)
    fit(tiny, batches(10), resumed)
    assert resumed.consumed_tokens == sum(tokens[:15]) + sum(tokens[:10])


def test_validation_takes_no_time(tiny: ModelSize, batches: Batches) -> None:
    class Slow(LM):
        def validation_step(self, *_: Any) -> None:
            time.sleep(2)

    seen = fit(tiny, batches(4), Throughput(window_steps=2), Slow, val_check_interval=1)
    slow = float(real_tokens(batches(1)[0])) / 2  # what would be logged if it counted
    assert all(row["train/tokens_per_s"] > 2 * slow for row in seen.rows[1:])


def test_both_conventions_of_mfu(tiny: ModelSize, batches: Batches) -> None:
    size = ModelSize(layers=32, dim=4096, num_kv_heads=8, q_per_kv=4, ffn_dim=14336, vocab_size=92544)
    # InternLM2-7B at rows of 4,096, in GFLOP a token.
    assert size.flops_per_token([4096]) / 1e9 == pytest.approx(47.4, abs=0.05)
    assert size.internevo_flops_per_token(4096) / 1e9 == pytest.approx(55.4, abs=0.05)
    assert size.internevo_flops_per_token(262_144) / 1e9 == pytest.approx(461, abs=0.5)
    # Recomputation is one forward pass more in all blocks: a third, without the head.
    head = 6 * 4096 * 92544
    again = size.internevo_flops_per_token(4096, recomputes=True)
    assert (again - head) / (size.internevo_flops_per_token(4096) - head) == pytest.approx(4 / 3)
    row = fit(tiny, batches(2), Throughput(peak_tflops=1.0, window_steps=1)).rows[-1]
    ratio = tiny.internevo_flops_per_token(12) / tiny.flops_per_token([12] * 4)
    assert row["train/mfu_internevo"] / row["train/mfu"] == pytest.approx(ratio)
