"""The job of every training: a module, its data and a Trainer, composed and run."""

from typing import Any

import lightning as L

from internlm2_core.training.run import run


def train(
    module: L.LightningModule, data: L.LightningDataModule, trainer: L.Trainer, output: str, seed: int = 1
) -> dict[str, Any]:
    """Train. What is written beside checkpoints is the callbacks' business.

    Args:
        module: An `LM`, a reward model, PPO, or one of your own.
        data: What it is trained on.
        trainer: Lightning's, with its callbacks.
        output: Folder of the run.
        seed: Of everything random that is not seeded elsewhere.

    Returns:
        The last figures that were logged.
    """
    L.seed_everything(seed, verbose=False)
    run(trainer, module, data, output)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
