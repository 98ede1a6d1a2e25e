"""Figures of speed are those of one rank under every layout, and tokens are counted once over restarts."""

from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.callbacks import Checkpoints, Throughput, throughput
from internlm2_core.training.run import resumes_from
from internlm2_parallel import MeshStrategy
from internlm2_parallel.testing import run_ranks
from torch.utils.data import DataLoader

SIZE = ModelSize(layers=2, dim=16, num_kv_heads=2, q_per_kv=1, ffn_dim=24, vocab_size=64, head_dim=8, max_positions=16)
TOKENS = 2 * 16


def fit(folder: Path, strategy: Any, steps: int, devices: int) -> tuple[dict[str, float], int]:
    """Figures of the last step, and consumed tokens. A second passes from one look at the clock to the next."""
    throughput.time = SimpleNamespace(perf_counter=partial(next, count()))  # type: ignore[attr-defined,assignment]
    ids = torch.randint(0, 64, (2, 16), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids, "labels": ids.roll(-1, 1), "position_ids": torch.arange(16).expand(2, 16)}
    counted, saver = Throughput(peak_tflops=1.0, window_steps=1), Checkpoints(folder, every_n_train_steps=1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", strategy=strategy, devices=devices, max_steps=steps, **quiet,  # type: ignore[arg-type]
                        callbacks=[counted, saver], use_distributed_sampler=False)  # fmt: skip
    module = LM(partial(LanguageModel, SIZE), partial(torch.optim.AdamW, lr=1e-2))
    trainer.fit(module, DataLoader([batch] * steps, batch_size=None), ckpt_path=resumes_from(trainer))  # type: ignore[arg-type]
    return {name: float(value) for name, value in trainer.callback_metrics.items()}, counted.consumed_tokens


@pytest.mark.parametrize(("name", "together"), [("fsdp", 1), ("tensor", 2), ("context", 2), ("pipeline", 2)])
def test_ranks_that_compute_rows_together_share_them(name: str, together: int, tmp_path: Path) -> None:
    def rank(steps: int) -> tuple[dict[str, float], int]:
        options = {"micro_batches": 2} if name == "pipeline" else {}
        return fit(tmp_path, getattr(MeshStrategy, name)(**options), steps, 2)

    flops = TOKENS * SIZE.flops_per_token([16, 16])
    for steps in (2, 3):  # the second run resumes
        for figures, consumed in run_ranks(partial(rank, steps), 2, join=False):
            assert consumed == figures["train/tokens"] == steps * TOKENS * 2 // together
            assert figures["train/tokens_per_s"] == pytest.approx(TOKENS / together)
            assert figures["train/tflops"] == pytest.approx(flops / together / 1e12)
            assert figures["train/mfu"] == pytest.approx(flops / together / 1e12)
            assert figures["train/padding"] == 0
