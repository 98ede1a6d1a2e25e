"""Write the trained network as a model folder when training ends."""

from pathlib import Path
from typing import Any, cast

import lightning as L
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from internlm2_core.checkpoint.released import save_released
from internlm2_core.lm import LM


class ExportModel(L.Callback):
    """Released layout at the end of training, gathered from all ranks and written by the first.

    Args:
        folder: where.
        tokenizer_path: whose tokenizer goes along.
    """

    def __init__(self, folder: str | Path, tokenizer_path: str | Path) -> None:
        self.folder, self.tokenizer_path = folder, tokenizer_path

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather and write, unless training was interrupted."""
        assert isinstance(pl_module, LM)
        if trainer.interrupted:
            return
        # A strategy that keeps only some blocks on a rank gathers them itself.
        gather = getattr(trainer.strategy, "whole_weights", whole_weights)
        tensors = cast(dict[str, Tensor], gather(pl_module.net))
        if trainer.is_global_zero:
            save_released(self.folder, pl_module.net.size, tensors.items(), self.tokenizer_path)
        trainer.strategy.barrier("export")


def whole_weights(net: nn.Module) -> dict[str, Any]:
    """All weights of a network, whole, on the CPU of the first rank; collective."""
    return get_model_state_dict(net, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
