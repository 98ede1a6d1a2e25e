"""AdamW groups, clipping and the learning-rate schedule of the recipe (report section 3.2)."""

import math
from dataclasses import dataclass, replace

import lightning as L
from torch import nn
from torch.optim import Optimizer


def decay_groups(net: nn.Module, weight_decay: float = 0.1) -> list[dict[str, object]]:
    """Two parameter groups: matrices decay, norms (one-dimensional) do not.

    Args:
        net: parameters that do not require gradients are left out.
        weight_decay: of the matrices.
    """
    trained = [weight for weight in net.parameters() if weight.requires_grad]
    return [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
    ]


class ClipsFusedOptimizers(L.LightningModule):
    """A module whose ``clip_gradients`` takes fused optimizers under ``precision="bf16-mixed"`` too.

    Lightning refuses them there, since such an optimizer unscales gradients in its step, after they were clipped. Only
    float16 is scaled; there the refusal is right.
    """

    def clip_gradients(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the strategy does it, which knows how gradients are spread over ranks; for manual optimization.

        Args:
            optimizer: whose gradients are clipped.
            gradient_clip_val: the bound; 0 clips nothing.
            gradient_clip_algorithm: ``"norm"`` or ``"value"``.
        """
        if gradient_clip_val == 0:
            return
        precision = self.trainer.precision_plugin
        is_scaled = getattr(precision, "scaler", None) is not None
        if gradient_clip_val is None or gradient_clip_algorithm != "norm" or is_scaled:
            super().clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            precision.clip_grad_by_norm(optimizer, gradient_clip_val)


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up, then a half cosine down to a share of the peak; a factor of the learning rate.

    Args:
        total_steps: optimizer steps in all; -1 leaves them open until :meth:`over` says how many there are.
        warmup_steps: steps of linear warm-up.
        floor: what is left at the end, as a share of the peak (0.1 in the recipe).

    Raises:
        ValueError: the warm-up is longer than the run.
    """

    total_steps: int
    warmup_steps: int = 0
    floor: float = 0.1

    def __post_init__(self) -> None:
        if self.total_steps != -1 and not 0 <= self.warmup_steps <= self.total_steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} does not fit into total_steps={self.total_steps}; "
                "set schedule.warmup_steps to at most the steps of the run."
            )

    def over(self, steps: int) -> "Cosine":
        """This schedule over so many steps, if they were left open.

        The warm-up then takes a tenth of them at most: who does not count the steps cannot know whether it fits.
        """
        if self.total_steps != -1:
            return self
        return replace(self, total_steps=steps, warmup_steps=min(self.warmup_steps, steps // 10))

    def __call__(self, step: int) -> float:
        """Factor at optimizer step ``step``, counted from 0."""
        assert self.total_steps != -1, "see Cosine.over"
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True)
class Constant:
    """No decay: factor 1 after a linear warm-up.

    Args:
        warmup_steps: steps of linear warm-up.
    """

    warmup_steps: int = 0

    def __call__(self, step: int) -> float:
        """Factor at optimizer step ``step``, counted from 0."""
        return min(1.0, (step + 1) / max(1, self.warmup_steps))
