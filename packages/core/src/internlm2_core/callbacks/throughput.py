"""Tokens per second, TFLOP/s, MFU and consumed tokens."""

import time
from typing import Any

import lightning as L
from torch import Tensor

from internlm2_core.lm import LM


def mfu(tokens_per_s: float, flops_per_token: float, peak_tflops: float) -> float:
    """Model FLOP utilisation: what the model needs, over what the device could do.

    Args:
        tokens_per_s: Per device.
        flops_per_token: See `ModelSize.flops_per_token`: causal attention counted as half, recomputation not counted.
        peak_tflops: Of one device, in the dtype of the matrices.
    """
    return tokens_per_s * flops_per_token / (peak_tflops * 1e12)


class Throughput(L.Callback):
    """Logs ``train/tokens_per_s`` and ``train/tflops`` per rank, ``train/tokens`` over all ranks, ``train/mfu``.

    Args:
        peak_tflops: Of one device. None logs no MFU.
        window_steps: Steps over which speed is averaged.
    """

    def __init__(self, peak_tflops: float | None = None, window_steps: int = 10) -> None:
        self.peak_tflops, self.window_steps = peak_tflops, window_steps
        self.consumed_tokens = 0
        self._tokens, self._since = 0, 0.0
        self._pairs: Tensor | float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Consumed tokens continue to count after a restart."""
        return {"consumed_tokens": self.consumed_tokens}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the count."""
        self.consumed_tokens = state_dict["consumed_tokens"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._tokens, self._pairs, self._since = 0, 0.0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch. Log at the end of each window."""
        assert isinstance(pl_module, LM)
        positions_BT = batch["position_ids"]
        self._tokens += positions_BT.numel()
        # A token at position p attends to p + 1 tokens: the sum of positions counts the pairs of every document.
        # It stays on the device until it is logged: reading it each step would wait for the step.
        self._pairs = self._pairs + (positions_BT.double() + 1).sum()
        if trainer.global_step % self.window_steps:
            return
        seconds = time.perf_counter() - self._since
        size = pl_module.net.size
        flops = size.matrix_flops_per_token() * self._tokens + size.flops_per_pair() * float(self._pairs)
        ranks = trainer.strategy.reduce(positions_BT.new_ones((), dtype=float), reduce_op="sum")
        self.consumed_tokens += int(self._tokens * ranks)
        figures = {
            "train/tokens_per_s": self._tokens / seconds,
            "train/tflops": flops / seconds / 1e12,
            "train/tokens": float(self.consumed_tokens),
        }
        if self.peak_tflops:
            figures["train/mfu"] = mfu(self._tokens / seconds, flops / self._tokens, self.peak_tflops)
        pl_module.log_dict(figures)
        self._tokens, self._pairs, self._since = 0, 0.0, time.perf_counter()
