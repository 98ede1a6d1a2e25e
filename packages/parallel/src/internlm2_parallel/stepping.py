"""Optimizer steps on split weights: gradients are clipped over all ranks, and what cannot step right is refused."""

from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from internlm2_parallel.clipping import clip_by_global_norm, clip_by_value
from internlm2_parallel.processes import RankedStrategy


class SteppingStrategy(RankedStrategy):
    """The part of `MeshStrategy` that knows optimizers. It takes the arguments of `RankedStrategy`."""

    def setup_optimizers(self, trainer: L.Trainer) -> None:
        """Make the optimizers.

        Raises:
            ValueError: If one measures all weights at once, and each rank has only some.
        """
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            if isinstance(optimizer, LBFGS) and self.has_stages:
                raise ValueError(
                    f"LBFGS measures all weights at once, and the ranks of pipeline={self.layout.pipeline} have some "
                    "each. It needs pipeline=1, or another optimizer."
                )

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any) -> Any:
        """Take a step.

        Args:
            optimizer: What steps.
            closure: Computes loss and gradients, unless the module has done so.
            model: See Lightning's.
            kwargs: Of the optimizer.

        Raises:
            ValueError: If it computes what torch does not compute on split weights.
        """
        has_gradients = False

        def compute() -> Any:
            nonlocal has_gradients
            loss = closure()
            has_gradients = True
            return loss

        try:
            return super().optimizer_step(optimizer, compute, model, **kwargs)
        except RuntimeError as error:
            if has_gradients and "Sharding propagation failed" in str(error):
                raise ValueError(
                    f"{type(optimizer).__name__} does not step with weights that layout {self.layout} splits: "
                    f"{str(error).partition('. ')[0]}. Another optimizer, or whole copies of the weights, would."
                ) from error
            raise

    def bind_clipping(self) -> None:
        """Lightning clips in its precision plugin, which knows neither DTensors on several meshes nor stages."""

        def clip_grad_by_norm(optimizer: Optimizer, clip_val: float) -> None:
            self.clip_by_norm(list(self.precision_plugin.main_params(optimizer)), float(clip_val))

        def clip_grad_by_value(optimizer: Optimizer, clip_val: float) -> None:
            clip_by_value(self.precision_plugin.main_params(optimizer), float(clip_val))

        self.precision_plugin.clip_grad_by_norm = clip_grad_by_norm  # type: ignore[method-assign,assignment]
        self.precision_plugin.clip_grad_by_value = clip_grad_by_value  # type: ignore[method-assign,assignment]

    def clip_by_norm(self, weights: Sequence[Tensor], max_norm: float) -> Tensor:
        """Clip all gradients to a global norm, over shards and stages. Collective.

        Args:
            weights: This rank's parameters, [...] each.
            max_norm: Limit of the 2-norm. Infinity clips nothing.

        Returns:
            The norm before clipping, a scalar, the same on every rank.
        """
        return clip_by_global_norm(weights, max_norm, self.ranks.pipeline)
