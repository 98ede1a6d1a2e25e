"""Validation after the last step."""

from typing import Any

import lightning as L

from internlm2_core.callbacks.export import is_last_step


class ValidateLast(L.Callback):
    """Has the validation sets read after the last step too, wherever it falls between two of their turns."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Say that training ends here: Lightning validates before it stops, but not at ``max_steps`` by itself."""
        if is_last_step(trainer):
            trainer.should_stop = True
