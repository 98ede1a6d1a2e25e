"""Which rank is slow, and why.

In synchronous training all steps take as long as those of the slowest rank: step times name nobody. So each rank
measures what it does alone: how long it waits for its data, and how long a fixed product of matrices takes right after
a step. These are gathered rarely. A slow link between nodes is not seen.
"""

import logging
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning as L
import torch
import torch.distributed as dist

from internlm2_parallel.health.nodes import host

log = logging.getLogger(__name__)


class Pace(NamedTuple):
    """What a rank measured.

    Attributes:
        rank: Index of the process.
        host: Its node.
        data_s: Seconds that a batch was waited for, the median.
        compute_s: Seconds of the product of matrices.
        step_s: Seconds of a step, the median.
    """

    rank: int
    host: str
    data_s: float
    compute_s: float
    step_s: float


class Stragglers(L.Callback):
    """Names ranks that are slower than the others, and logs ``health/slowest`` and ``health/slowest_rank``.

    Args:
        every_n_steps: Optimizer steps between two comparisons.
        factor: A rank is slow that computes so many times as long as the median rank, or waits for data by this share
            of a step longer: 1.3 names what slows a step by 30%.

    Raises:
        ValueError: If ``every_n_steps`` or ``factor`` is too small.
    """

    def __init__(self, every_n_steps: int = 200, factor: float = 1.3) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps} must be 1 or more.")
        if factor <= 1:
            raise ValueError(f"factor={factor} must be above 1.")
        self.every_n_steps, self.factor = every_n_steps, factor
        self._ended, self._data, self._steps, self._step = 0.0, list[float](), list[float](), 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to measure."""
        self._step, self._ended = trainer.global_step, 0.0

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Note how long the batch was waited for."""
        if self._ended:
            self._data.append(time.perf_counter() - self._ended)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Note the step. Compare, if it is time."""
        now, before = time.perf_counter(), self._ended
        if before:
            self._steps.append(now - before)
        if trainer.global_step >= self._step + self.every_n_steps and trainer.world_size > 1 and self._data:
            self._step = trainer.global_step
            self.compare(trainer, pl_module)
            self._data, self._steps = [], []
        self._ended = time.perf_counter()

    def compare(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Gather, name, and log. Collective.

        Args:
            trainer: After a step.
            module: Logs.
        """
        mine = Pace(
            trainer.global_rank,
            host(),
            statistics.median(self._data),
            seconds_of_product(trainer.strategy.root_device),
            statistics.median(self._steps),
        )
        paces: list[Any] = [None] * trainer.world_size
        dist.all_gather_object(paces, mine)
        share, slowest = slowest_of(paces)
        if trainer.is_global_zero and share >= self.factor:
            log.warning("After step %d %s", trainer.global_step, sentence(slowest, paces))
        module.log_dict({"health/slowest": share, "health/slowest_rank": float(slowest.rank)}, rank_zero_only=True)


def seconds_of_product(device: torch.device) -> float:
    """The best of three products of matrices, in seconds: what the device can do now, without what disturbs it once."""
    size, dtype = (512, torch.float32) if device.type == "cpu" else (4096, torch.bfloat16)
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    times = []
    for _ in range(3):
        synchronize(device)
        start = time.perf_counter()
        matrix @ matrix
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def synchronize(device: torch.device) -> None:
    """Wait for a device. A CPU has nothing to wait for."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def slowest_of(paces: Sequence[Pace]) -> tuple[float, Pace]:
    """The slowest rank, and how many times as long it takes as the median one.

    Args:
        paces: Of all ranks.
    """
    compute, data = middle(paces)

    def share(pace: Pace) -> float:
        return max(pace.compute_s / compute, 1 + (pace.data_s - data) / pace.step_s)

    slowest = max(paces, key=share)
    return share(slowest), slowest


def middle(paces: Sequence[Pace]) -> tuple[float, float]:
    """Medians of computing and of waiting for data, in seconds. Of two ranks, those of the faster one."""
    return statistics.median_low(p.compute_s for p in paces), statistics.median_low(p.data_s for p in paces)


def sentence(slow: Pace, paces: Sequence[Pace]) -> str:
    """Who is slow, and in what.

    Args:
        slow: The slowest rank.
        paces: Of all ranks.
    """
    compute, data = middle(paces)
    if slow.compute_s / compute >= 1 + (slow.data_s - data) / slow.step_s:
        what = f"computes {slow.compute_s / compute:.1f} times as long as the median rank"
    else:
        what = f"waits {1e3 * slow.data_s:.0f} ms for a batch, the median rank {1e3 * data:.0f} ms"
    return f"rank {slow.rank} on {slow.host} {what}. Its steps take {1e3 * slow.step_s:.0f} ms."
