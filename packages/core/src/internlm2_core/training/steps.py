"""The optimizer step of every module that is trained here: LM, RewardModel, PPOSystem.

One ``training_step`` is one or more whole optimizer steps. The batch that arrives is this rank's share of the global
batch. The module cuts it into micro-batches itself and divides each loss by a count of the *global* batch, so loss and
gradient do not depend on how the batch is cut. A checkpoint is taken between steps and never holds half a gradient.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from internlm2_core.lightning_private import is_attached
from internlm2_core.training.clipping import clip_by_norm
from internlm2_core.training.finite import LeftOut, are_finite, refuse_checkpoint
from internlm2_core.training.given import keep, settings_of
from internlm2_core.training.hyperparameters import changed, describe, rebuilt
from internlm2_core.training.reading import checkpoint_at, read_checkpoint, refuse_other_model


class StepLoss(NamedTuple):
    """A micro-batch's part of an optimizer step.

    Attributes:
        loss: Scalar with gradient, already divided by the count of the whole step.
        figures: Scalars to be added up over the step and logged.
    """

    loss: Tensor
    figures: dict[str, Tensor]


class StepModule(L.LightningModule):
    """A LightningModule whose batches are whole optimizer steps.

    Args:
        max_grad_norm: Gradients are clipped to this global norm. 0 clips nothing.
        most_left_out: Steps in a row that are left out because loss or gradient is not finite. As many end the run. A
            bad batch makes one. The loss scale of float16 seldom takes ten to find its place.

    Attributes:
        left_out: Counts the steps that were left out.
    """

    def __init__(self, max_grad_norm: float = 1.0, most_left_out: int = 10) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.max_grad_norm, self.left_out = max_grad_norm, LeftOut(most_left_out)

    def configure_callbacks(self) -> list[L.Callback]:
        """Nothing to add. Lightning asks before it judges the Trainer, so a better sentence can be said here.

        Raises:
            ValueError: If the Trainer is to accumulate or clip gradients, which this module does itself.
        """
        if (batches := self.trainer.accumulate_grad_batches) != 1:
            raise ValueError(
                f"accumulate_grad_batches={batches} must be 1: a batch of {type(self).__name__} is a whole optimizer "
                "step. Make the batch larger and compute it in micro-batches instead."
            )
        if (norm := self.trainer.gradient_clip_val) is not None:
            raise ValueError(
                f"gradient_clip_val={norm} must be left out: {type(self).__name__} clips by its own max_grad_norm."
            )
        return []

    def on_fit_start(self) -> None:
        """Note the settings of the optimizers before a checkpoint is restored."""
        self._settings = settings_of(self.trainer.optimizers)

    def on_train_start(self) -> None:
        """Keep them: a run that resumes with another learning rate takes it."""
        keep(self._settings, self.trainer.optimizers, [each.scheduler for each in self.trainer.lr_scheduler_configs])

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments that make this module again, for its checkpoints."""
        return {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The arguments are saved too, as plain values. Nothing is saved whose numbers are not finite.

        Raises:
            NotFiniteError: If weights or moments are not finite on any rank. Where a checkpoint is written in the
                background, it is raised at the next one or at the end of the run.
        """
        if is_attached(self):
            refuse_checkpoint(self)
        checkpoint["left_out"] = self.left_out.state_dict()
        checkpoint["module"] = f"{type(self).__module__}.{type(self).__qualname__}"
        arguments = {name: describe(value) for name, value in self.arguments().items()}
        checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = arguments

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the count of steps that were left out.

        Raises:
            ValueError: If the run is finished and was trained with other settings, so that these would take no effect.
        """
        self.left_out.load_state_dict(checkpoint["left_out"])
        if is_attached(self) and self.trainer.state.fn == TrainerFn.FITTING and self.trainer.max_steps >= 0:
            self._refuse_finished(checkpoint)

    def _refuse_finished(self, checkpoint: dict[str, Any]) -> None:
        own = {name: describe(value) for name, value in self.arguments().items()}
        other = changed(checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {}), own)
        if other and (step := checkpoint["global_step"]) >= self.trainer.max_steps:
            raise ValueError(
                f"The run is finished, after step {step}, and had other settings ({', '.join(other)}): nothing is left "
                "to train with these. They need a folder of their own, or more steps."
            )

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take weights, as of a checkpoint.

        Args:
            state_dict: Weights by name, [...] each.
            strict: Whether the names must be exactly those of the module.
            assign: See ``torch.nn.Module.load_state_dict``.

        Raises:
            ValueError: If they are those of another model.
        """
        refuse_other_model(self.state_dict(), state_dict, strict)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, map_location: Any = "cpu", strict: bool | None = None, **arguments: Any
    ) -> Self:
        """A module with the weights of a checkpoint, read without pickle.

        Args:
            checkpoint_path: A checkpoint, as one file or sharded, or a folder of checkpoints.
            map_location: See ``torch.load``.
            strict: Whether the weights must be exactly those of the module. None leaves it to the module.
            **arguments: Of the constructor, in the place of those saved.

        Raises:
            FileNotFoundError: If there is no whole checkpoint.
            ValueError: If it names an argument that it does not hold.
        """
        content = read_checkpoint(checkpoint_at(checkpoint_path), map_location)
        return cls.from_content(content, strict, **arguments)

    @classmethod
    def from_content(cls, content: dict[str, Any], strict: bool | None = None, **arguments: Any) -> Self:
        """A module from what a checkpoint holds.

        Args:
            content: See `read_checkpoint`.
            strict: Whether the weights must be exactly those of the module. None leaves it to the module.
            **arguments: Of the constructor, in the place of those saved.

        Raises:
            ValueError: If it names an argument that it does not hold.
        """
        module = cls(**rebuilt(content.get(cls.CHECKPOINT_HYPER_PARAMS_KEY, {}), arguments))
        module.configure_model()
        module.on_load_checkpoint(content)
        module.load_state_dict(content["state_dict"], strict=module.strict_loading if strict is None else strict)
        return module

    def save(self, folder: str | Path) -> None:
        """Write what is trained as a model folder.

        Args:
            folder: Where.
        """
        raise NotImplementedError

    def take_step(
        self,
        losses: Iterable[Callable[[], StepLoss]],
        index: int = 0,
        accepts: Callable[[dict[str, Tensor], Optimizer], bool] | None = None,
    ) -> dict[str, Tensor]:
        """One optimizer step over the sum of losses. Ranks exchange gradients once, with the last micro-batch.

        A step whose loss or gradient is not finite is left out on all ranks. ``train/grad_norm`` and ``train/lr`` are
        logged as the step takes them, and ``train/steps_left_out`` counts. Of several optimizers each logs under the
        name of its network (``train/grad_norm/actor``).

        Args:
            losses: One call a micro-batch. Each is made, and its backward pass run, before the next.
            index: Which of the module's optimizers steps.
            accepts: Looks at the sums of the figures before the step. Where it says no, the weights stay as they are.

        Returns:
            The sums of the figures, scalars on this rank.

        Raises:
            NotFiniteError: If too many steps in a row were not finite.
        """
        optimizer = self._optimizer(index)
        optimizer.zero_grad()
        parts = list(losses)
        total, sums = torch.zeros((), device=self.device), dict[str, Tensor]()
        for number, part in enumerate(parts, 1):
            with optimizer.toggle_model(sync_grad=number == len(parts)):
                loss, figures = part()
                self.manual_backward(loss)
            total = total + loss.detach()
            for name, figure in figures.items():
                sums[name] = sums[name] + figure if name in sums else figure
        norm = self.clip_by_norm(optimizer.optimizer)
        is_finite = self.trainer.strategy.reduce_boolean_decision(are_finite([total, norm]), all=True)
        is_taken = (accepts is None or accepts(sums, optimizer.optimizer)) and is_finite
        self.left_out.note(index, is_finite, is_taken)
        self._log_step(index, norm)
        if is_taken:
            optimizer.step()
            self._step_schedule(index)
        if not is_finite:
            self._lower_loss_scale(optimizer.optimizer)
            self.left_out.end_if_too_many(index, self, {"loss": float(total), "gradient norm": float(norm)})
        return sums

    def clip_by_norm(self, optimizer: Optimizer) -> Tensor:
        """Clip the gradients of an optimizer to ``max_grad_norm``.

        Returns:
            Their norm before, a scalar, the same on every rank.
        """
        return clip_by_norm(self.trainer, optimizer, self.max_grad_norm)

    def _log_step(self, index: int, norm: Tensor) -> None:
        """Log what a step is taken with, before the schedule moves on."""
        optimizer, of = self._optimizer(index), ""
        if isinstance(self.optimizers(), list):
            # Several optimizers: each has a network of its own.
            trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
            nets = (n for n, net in self.named_children() if any(id(weight) in trained for weight in net.parameters()))
            of = f"/{next(nets, index)}"
        figures = {f"train/grad_norm{of}": norm, f"train/lr{of}": optimizer.param_groups[0]["lr"]}
        self.log_dict({**figures, "train/steps_left_out": float(self.left_out.total)})

    def _lower_loss_scale(self, optimizer: Optimizer) -> None:
        """Under float16 an overflow says that losses are scaled too much."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            scaler.unscale_(optimizer)  # notes the overflow
            scaler.update()

    def mean_over_ranks(self, count: Tensor) -> Tensor:
        """Average a local sum over the ranks that read different rows.

        Data-parallel strategies average gradients. A local loss sum over the *average* count per rank therefore gives
        the gradient of the global mean, under every layout, without asking for one.

        Args:
            count: Any shape, [...], of this rank.
        """
        return self.trainer.strategy.reduce(count.detach().float().to(self.device), reduce_op="mean")

    def _optimizer(self, index: int) -> LightningOptimizer:
        optimizers: Any = self.optimizers()
        chosen = optimizers[index] if isinstance(optimizers, list) else optimizers
        assert isinstance(chosen, LightningOptimizer)
        return chosen

    def _step_schedule(self, index: int) -> None:
        schedules: Any = self.lr_schedulers()
        every = schedules if isinstance(schedules, list) else [schedules]
        if schedules is not None and index < len(every):
            every[index].step()
