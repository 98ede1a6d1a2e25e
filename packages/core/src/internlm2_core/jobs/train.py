"""The job of every training: a module, its data and a Trainer, composed and run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the other jobs of this package start without Lightning
    import lightning as L


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
    from lightning import seed_everything

    from internlm2_core.training.run import run

    seed_everything(seed, verbose=False)
    return run(trainer, module, data, output)
