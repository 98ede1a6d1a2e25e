"""Write the trained network as a model folder after the last step."""

from pathlib import Path
from typing import Any, cast

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from internlm2_core.checkpoint.replacing import check_place
from internlm2_core.lm import LM
from internlm2_core.shares import GathersWholeWeights
from internlm2_core.training.finite import refuse_what_is_not_finite


class SaveLast(L.Callback):
    """Writes what training gives after its last step, or when something stops it early, unless that was the user.

    It must come before the callback that writes checkpoints. A checkpoint of the last step then says that the result
    was written, and a run that resumes from it has nothing left to do.

    Args:
        folder: Where.

    Attributes:
        of: Kind of module that it writes.
        places: Model folders that it will write.
    """

    of: type[L.LightningModule] = L.LightningModule

    def __init__(self, folder: str | Path) -> None:
        self.folder, self.is_written = Path(folder), False
        self.places: tuple[Path, ...] = (self.folder,)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse before training what could not be written after it.

        Raises:
            ValueError: If the module is of another kind, or a place holds something else than an older model.
        """
        if trainer.is_global_zero:
            for place in self.places:
                check_place(place)
        if not isinstance(pl_module, self.of):
            raise ValueError(
                f"{type(self).__name__} writes {self.of.__name__}, and callbacks with it do not fit "
                f"{type(pl_module).__name__}."
            )

    def write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather from all ranks and write on the first. Called on every rank."""
        raise NotImplementedError

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Write, if no step follows."""
        if is_last_step(trainer):
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write, if training stopped early."""
        if not trainer.interrupted and not self.is_written:
            self._write(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write, if there was nothing left to train: the run was asked to end at the step that it resumes from."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.interrupted and not self.is_written:
            pl_module.to(trainer.strategy.root_device)  # whence the strategy has taken it when it ended
            self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        refuse_what_is_not_finite(module, "The model")
        self.write(trainer, module)
        trainer.strategy.barrier("result")
        self.is_written = True


class ExportModel(SaveLast):
    """Writes an LM in the released layout, with its tokenizer."""

    of = LM

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse before training what could not be written after it.

        Raises:
            ValueError: If the module is not an LM, or has no tokenizer to write beside the weights.
        """
        super().setup(trainer, pl_module, stage)
        assert isinstance(pl_module, LM)
        if pl_module.tokenizer is None or pl_module.tokenizer.path is None:
            raise ValueError("tokenizer=None must be a tokenizer with a file, which goes into the model folder.")

    def write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the network."""
        assert isinstance(pl_module, LM)
        tensors = gathered(trainer, pl_module.net)
        if trainer.is_global_zero:
            pl_module.save(self.folder, tensors)


def is_last_step(trainer: L.Trainer) -> bool:
    """Whether training ends with the step that was just taken. Asked while its batch is the current one."""
    ends_epoch = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
    return trainer.global_step == trainer.max_steps or ends_epoch


def gathered(trainer: L.Trainer, net: nn.Module) -> dict[str, Tensor]:
    """All weights of a network in training, on the CPU of the first rank, and nothing on the others. Collective.

    Args:
        trainer: Its strategy may gather them itself, as one does that keeps only some blocks on a rank.
        net: A network of the module.
    """
    if isinstance(trainer.strategy, GathersWholeWeights):
        return trainer.strategy.whole_weights(net)
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return cast(dict[str, Tensor], get_model_state_dict(net, options=options))
