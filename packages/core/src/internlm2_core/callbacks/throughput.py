"""Tokens per second, TFLOP/s, MFU and consumed tokens."""

import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor

from internlm2_core.batch import IGNORE, Batch
from internlm2_core.callbacks.export import is_last_step
from internlm2_core.lm import LM
from internlm2_core.shares import replicas_of


def mfu(tokens_per_s: float, flops_per_token: float, peak_tflops: float) -> float:
    """Model FLOP utilisation: what the model needs, over what the device could do.

    Args:
        tokens_per_s: Per device.
        flops_per_token: See `ModelSize.flops_per_token`: causal attention counted as half, recomputation not counted.
        peak_tflops: Of one device, in the dtype of the matrices.
    """
    return tokens_per_s * flops_per_token / (peak_tflops * 1e12)


def real_tokens(batch: Batch) -> Tensor:
    """Tokens of a batch that are not padding, a scalar on its device. Padding is a document without any label.

    Args:
        batch: Packed rows.
    """
    document = (batch["position_ids"] == 0).flatten().cumsum(0)
    labels = torch.zeros(len(document) + 1, dtype=torch.int64, device=document.device)
    labels.index_add_(0, document, (batch["labels"] != IGNORE).flatten().long())
    return (labels[document] > 0).sum()


class Throughput(L.Callback):
    """Logs ``train/tokens_per_s``, ``train/padding`` and ``train/tflops`` per rank, ``train/tokens`` and ``train/mfu``.

    Validation does not count as time. What is computed counts for FLOPs, padding too. Tokens are those without padding.
    Ranks that compute the same rows together share their tokens and FLOPs.

    Args:
        peak_tflops: Of one device. None logs no MFU.
        window_steps: Steps over which speed is averaged.

    Attributes:
        consumed_tokens: Over all ranks and attempts, without padding.
    """

    def __init__(self, peak_tflops: float | None = None, window_steps: int = 10) -> None:
        self.peak_tflops, self.window_steps = peak_tflops, window_steps
        self.consumed_tokens = 0
        self._sum: Callable[[Tensor], Tensor] | None = None
        self._uncounted: Tensor | None = None
        self._start()

    def _start(self) -> None:
        """Begin a window. Sums stay on the device until they are logged: reading them waits for the step."""
        self._computed, self._since = 0, time.perf_counter()
        self._real: Tensor | int = 0
        self._pairs: Tensor | float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Consumed tokens continue to count after a restart. Collective."""
        self._count()
        return {"consumed_tokens": self.consumed_tokens}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the count."""
        self.consumed_tokens = state_dict["consumed_tokens"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._sum = lambda tokens: trainer.strategy.reduce(tokens, reduce_op="sum")
        self._uncounted = None
        self._start()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._stopped = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let it continue."""
        self._since += time.perf_counter() - self._stopped

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch. Log at the end of each window, and at that of training."""
        assert isinstance(pl_module, LM)
        positions_BT, real = batch["position_ids"], real_tokens(batch)
        # Ranks that split matrices, blocks or the tokens of a row compute the same batch together.
        self._together = max(1, trainer.world_size // replicas_of(trainer))
        self._computed += positions_BT.numel()
        # A token at position p attends to p + 1 tokens: the sum of positions counts the pairs of every document.
        self._pairs = self._pairs + (positions_BT.double() + 1).sum()
        self._real = self._real + real
        self._uncounted = real if self._uncounted is None else self._uncounted + real
        if trainer.global_step % self.window_steps == 0 or is_last_step(trainer):
            pl_module.log_dict(self._figures(pl_module, positions_BT.shape[1]))
            self._start()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count what is left, where something ended training early."""
        self._count()

    def _figures(self, module: LM, context: int) -> dict[str, float]:
        self._count()
        size, real = module.net.size, float(self._real)
        seconds = (time.perf_counter() - self._since) * self._together
        flops = size.matrix_flops_per_token() * self._computed + size.flops_per_pair() * float(self._pairs)
        figures = {
            "train/tokens_per_s": real / seconds,
            "train/padding": 1 - real / self._computed,
            "train/tflops": flops / seconds / 1e12,
            "train/tokens": float(self.consumed_tokens),
        }
        if self.peak_tflops:
            speed, recomputes = self._computed / seconds, module.recompute != "none"
            figures["train/mfu"] = mfu(speed, flops / self._computed, self.peak_tflops)
            theirs = size.internevo_flops_per_token(context, recomputes)
            figures["train/mfu_internevo"] = mfu(speed, theirs, self.peak_tflops)
        return figures

    def _count(self) -> None:
        """Add the tokens of all ranks since the last time."""
        if self._sum is not None and self._uncounted is not None:
            self.consumed_tokens += int(self._sum(self._uncounted))
            self._uncounted = None
