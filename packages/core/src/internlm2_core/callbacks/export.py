"""Write the trained network as a model folder after the last step."""

from pathlib import Path
from typing import Any, cast

import lightning as L
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from internlm2_core.checkpoint.released import save_released
from internlm2_core.lm import LM


class SaveLast(L.Callback):
    """Writes what training gives after its last step, or when something stops it early, unless that was the user.

    It must come before the callback that writes checkpoints: a checkpoint of the last step then says that the result
    was written, and a run that goes on from it has nothing left to do.
    """

    def __init__(self) -> None:
        self.is_written = False

    def write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather from all ranks and write on the first; called on every rank."""
        raise NotImplementedError

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Write, if no step follows."""
        if is_last_step(trainer):
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write, if training stopped early."""
        if not trainer.interrupted and not self.is_written:
            self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.write(trainer, module)
        trainer.strategy.barrier("result")
        self.is_written = True


class ExportModel(SaveLast):
    """Writes an LM in the released layout.

    Args:
        folder: where.
        tokenizer_path: whose tokenizer goes along.
    """

    def __init__(self, folder: str | Path, tokenizer_path: str | Path) -> None:
        super().__init__()
        self.folder, self.tokenizer_path = folder, tokenizer_path

    def write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the network."""
        assert isinstance(pl_module, LM)
        tensors = gathered(trainer, pl_module.net)
        if trainer.is_global_zero:
            save_released(self.folder, pl_module.net.size, tensors.items(), self.tokenizer_path)


def is_last_step(trainer: L.Trainer) -> bool:
    """Whether training ends with the step that was just taken; asked while its batch is the current one."""
    ends_epoch = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
    return trainer.global_step == trainer.max_steps or ends_epoch


def gathered(trainer: L.Trainer, net: nn.Module) -> dict[str, Tensor]:
    """All weights of a network in training, whole, on the CPU of the first rank; nothing on the others. Collective."""
    gather = getattr(trainer.strategy, "whole_weights", None)
    if gather is None:
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return cast(dict[str, Tensor], get_model_state_dict(net, options=options))
    # A strategy that keeps only some blocks on a rank gathers them itself.
    return dict(gather(net))
