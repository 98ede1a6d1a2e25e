"""Write the trained network as a model folder after the last step."""

from pathlib import Path
from typing import Any, cast

import lightning as L
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from internlm2_core.checkpoint.released import save_released
from internlm2_core.lm import LM


class ExportModel(L.Callback):
    """Released layout after the last step, gathered from all ranks and written by the first.

    It must come before the callback that writes checkpoints: a checkpoint of the last step then says that the model was
    written, and a run that goes on from it has nothing left to do.

    Args:
        folder: where.
        tokenizer_path: whose tokenizer goes along.
    """

    def __init__(self, folder: str | Path, tokenizer_path: str | Path) -> None:
        self.folder, self.tokenizer_path = folder, tokenizer_path

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Write, if no step follows."""
        if is_last_step(trainer):
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write, if something stopped training early, unless that was the user."""
        if not trainer.interrupted and not is_last_step(trainer):
            self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, LM)
        tensors = gathered(trainer, module.net)
        if trainer.is_global_zero:
            save_released(self.folder, module.net.size, tensors.items(), self.tokenizer_path)
        trainer.strategy.barrier("export")


def is_last_step(trainer: L.Trainer) -> bool:
    """Whether training ends with the step that was just taken, by its number of steps or epochs."""
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
