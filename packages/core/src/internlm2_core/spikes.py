"""Loss spikes: steps that are left out, and weights put back when the loss stays high.

PaLM restarted from a checkpoint before the spike and left out the batches around it (arXiv 2204.02311, section 5.1).
Here the weights before the spike are kept in memory, and the data simply continue.
"""

import math
import statistics
from collections import deque
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer


class SpikeGuard:
    """Decides whether a step is taken, by the losses of the steps before it.

    A loss is a spike when it is not finite, or lies above the median of the window by ``threshold`` standard deviations
    (estimated from the median absolute deviation, which a spike does not move). Its gradient is then not applied. After
    ``patience`` spikes in a row the weights of the last snapshot come back; when as many follow again, the run ends.

    Args:
        threshold: In standard deviations.
        window: Accepted losses remembered.
        least: Losses needed before anything is judged, but for losses that are not finite.
        patience: Spikes in a row that are only left out.
        snapshot_every: Accepted steps between snapshots of weights and optimizer, kept on CPU. 0 keeps none, and
            ``patience`` spikes in a row then end the run.

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
        self._snapshot: list[Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs. Instead of the snapshot it has the checkpoint itself."""
        counts = {name: getattr(self, name) for name in ("in_a_row", "skipped", "accepted", "rewound_at")}
        return {"losses": list(self.losses), **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue."""
        self.losses.extend(state["losses"])
        for name in ("in_a_row", "skipped", "accepted", "rewound_at"):
            setattr(self, name, state[name])

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
            RuntimeError: If the loss stays high although the weights were put back, or there were none to put back.
        """
        if self.is_spike(loss):
            self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
            if self.in_a_row == self.patience:
                self._rewind(loss, optimizer)
            return False
        self.losses.append(loss)
        self.accepted, self.in_a_row = self.accepted + 1, 0
        if self.snapshot_every and self.accepted % self.snapshot_every == 0:
            self._snapshot = [tensor.to("cpu", copy=True) for tensor in state_of(optimizer)]
        return True

    def _rewind(self, loss: float, optimizer: Optimizer) -> None:
        is_first = self.rewound_at is None or self.accepted - self.rewound_at >= self.least
        if self._snapshot is None or not is_first:
            before = statistics.median(self.losses) if self.losses else math.nan
            raise RuntimeError(
                f"{self.patience} losses in a row stood out (the last {loss:.3f}, before them {before:.3f}). Continue "
                f"from an older checkpoint with a lower learning rate, or raise threshold={self.threshold}."
            )
        with torch.no_grad():
            for tensor, copy in zip(state_of(optimizer), self._snapshot, strict=True):
                tensor.copy_(copy)
        self.in_a_row, self.rewound_at = 0, self.accepted


def state_of(optimizer: Optimizer) -> list[Tensor]:
    """Weights and moments that live on this rank, in a fixed order."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments = [value for weight in weights for value in optimizer.state.get(weight, {}).values()]
    parts = (x.detach() for x in (*weights, *moments) if isinstance(x, Tensor))
    return [x.to_local() if isinstance(x, DTensor) else x for x in parts]
