"""Loss spikes: steps that are left out, and weights put back when the loss stays high.

PaLM restarted from a checkpoint before the spike and left out the batches around it (arXiv 2204.02311, section 5.1).
Here the weights before the spike are kept in memory, and the data simply continue.
"""

import logging
import math
import statistics
from collections import deque
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

log = logging.getLogger(__name__)

COUNTS = ("in_a_row", "skipped", "accepted", "rewound_at", "level_at")


class SpikeGuard:
    """Decides whether a step is taken, by the losses of the steps before it.

    A loss is a spike when it is not finite, or lies above the median of the window by ``threshold`` standard deviations
    (estimated from the median absolute deviation, which a spike does not move). Its gradient is then not applied. After
    ``patience`` spikes in a row the weights of the last snapshot come back. When as many follow again, or there is no
    snapshot, the data have changed: their finite losses are taken as the new level. When the loss leaves that level too
    within a window, or is not finite, the run ends.

    Args:
        threshold: In standard deviations.
        window: Accepted losses remembered.
        least: Losses needed before anything is judged, but for losses that are not finite.
        patience: Spikes in a row that are only left out.
        snapshot_every: Accepted steps between snapshots of weights and optimizer, kept on CPU. 0 keeps none.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self, threshold: float = 6.0, window: int = 128, least: int = 32, patience: int = 8, snapshot_every: int = 0
    ) -> None:
        if threshold <= 0 or patience < 1 or snapshot_every < 0 or not 2 <= least <= window:
            raise ValueError(
                f"threshold={threshold} must be above 0, patience={patience} at least 1, "
                f"snapshot_every={snapshot_every} at least 0, and 2 <= least={least} <= window={window}."
            )
        self.threshold, self.least, self.patience, self.snapshot_every = threshold, least, patience, snapshot_every
        self.losses: deque[float] = deque(maxlen=window)
        self.in_a_row = self.skipped = self.accepted = 0
        self.rewound_at: int | None = None
        self.level_at: int | None = None
        self._in_a_row: deque[float] = deque(maxlen=patience)
        self._snapshot: list[Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs. Instead of the snapshot it has the checkpoint itself."""
        counts = {name: getattr(self, name) for name in COUNTS}
        return {"losses": list(self.losses), "losses_in_a_row": list(self._in_a_row), **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue."""
        self.losses.extend(state["losses"])
        self._in_a_row.extend(state["losses_in_a_row"])
        for name in COUNTS:
            setattr(self, name, state[name])

    def begin_phase(self) -> None:
        """Forget the losses: other data, another context or RoPE base begin, and with them another level."""
        self.losses.clear()
        self.in_a_row, self.rewound_at, self.level_at, self._snapshot = 0, None, None, None

    def is_spike(self, loss: float) -> bool:
        """Whether a loss stands out."""
        if not math.isfinite(loss):
            return True
        if len(self.losses) < self.least:
            return False
        median = statistics.median(self.losses)
        spread = 1.4826 * statistics.median(abs(x - median) for x in self.losses)
        return loss > median + self.threshold * max(spread, 1e-3)

    def accepts(self, loss: float, optimizer: Optimizer) -> bool:
        """Judge a step before it is taken. Every rank must give the same loss.

        Args:
            loss: Of the global batch.
            optimizer: Its weights and state are put back when the spike lasts.

        Returns:
            Whether the step is to be taken.

        Raises:
            RuntimeError: If the loss stays high although weights were put back and its level was taken as the new one,
                or is not finite.
        """
        if self.is_spike(loss):
            self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
            self._in_a_row.append(loss)
            if self.in_a_row == self.patience:
                self._judge_lasting(optimizer)
            return False
        self.losses.append(loss)
        self.accepted, self.in_a_row = self.accepted + 1, 0
        if self.snapshot_every and self.accepted % self.snapshot_every == 0:
            self._snapshot = [tensor.to("cpu", copy=True) for tensor in state_of(optimizer)]
        return True

    def _judge_lasting(self, optimizer: Optimizer) -> None:
        """After ``patience`` spikes in a row: put weights back, take the new level, or end the run."""
        before = statistics.median(self.losses) if self.losses else math.nan
        if self._snapshot is not None and self._is_long_since(self.rewound_at, self.least):
            with torch.no_grad():
                for tensor, copy in zip(state_of(optimizer), self._snapshot, strict=True):
                    tensor.copy_(copy)
            self.rewound_at = self.accepted
        elif all(map(math.isfinite, self._in_a_row)) and self._is_long_since(self.level_at, self.losses.maxlen or 0):
            level = statistics.median(self._in_a_row)
            log.warning(
                "%d losses in a row stood out. %.3f is the new level, after %.3f.", self.patience, level, before
            )
            self.losses.clear()
            self.losses.extend(self._in_a_row)
            self.level_at = self.accepted
        else:
            raise RuntimeError(
                f"{self.patience} losses in a row stood out (the last {self._in_a_row[-1]:.3f}, before them "
                f"{before:.3f}). Continue from an older checkpoint with a lower learning rate, or raise "
                f"threshold={self.threshold}."
            )
        self.in_a_row = 0

    def _is_long_since(self, then: int | None, steps: int) -> bool:
        return then is None or self.accepted - then >= steps


def state_of(optimizer: Optimizer) -> list[Tensor]:
    """Weights and moments that live on this rank, in a fixed order."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments = [value for weight in weights for value in optimizer.state.get(weight, {}).values()]
    parts = (x.detach() for x in (*weights, *moments) if isinstance(x, Tensor))
    return [x.to_local() if isinstance(x, DTensor) else x for x in parts]
