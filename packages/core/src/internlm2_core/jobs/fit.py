"""Train an LM on batches: pre-training and supervised fine-tuning alike."""

import json
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning as L

from internlm2_core.callbacks.export import ExportModel
from internlm2_core.lm import LM
from internlm2_core.phases import Batches
from internlm2_core.shares import share_of
from internlm2_core.text.tokenizer import Tokenizer


class Loaders(L.LightningDataModule):
    """Hands a rank's loader to Lightning, once the strategy knows which rank this is.

    Args:
        batches: makes the loader.
        validation: makes loaders of one pass, by name; empty validates nothing.
        num_workers: reading processes; 0 reads in this one.
    """

    def __init__(self, batches: Batches, validation: Mapping[str, Batches], num_workers: int = 0) -> None:
        super().__init__()
        self.batches, self.validation, self.num_workers = batches, validation, num_workers

    def train_dataloader(self) -> Iterable[Any]:
        """The loader of this data-parallel rank."""
        return self._load(self.batches)

    def val_dataloader(self) -> list[Iterable[Any]]:
        """One loader per validation set."""
        return [self._load(batches) for batches in self.validation.values()]

    def _load(self, batches: Batches) -> Iterable[Any]:
        assert self.trainer is not None
        share = share_of(self.trainer)
        return batches.loader(share["rank"], share["num_replicas"], self.num_workers)


def fit(
    module: LM,
    batches: Batches,
    trainer: L.Trainer,
    tokenizer: Tokenizer,
    output: str,
    seed: int,
    validation: Mapping[str, Batches] | None = None,
    num_workers: int = 0,
) -> None:
    """Train, and write ``OUTPUT/model`` and ``OUTPUT/training.json`` (steps, tokens, seconds, last loss).

    A run that was stopped goes on from ``OUTPUT/checkpoints/last.ckpt``. Whether that was taken under the same settings
    is not asked here; the command compares them before.

    Args:
        module: what is trained.
        batches: makes this rank's loader.
        trainer: Lightning's.
        tokenizer: goes along with the model.
        output: folder of the run.
        seed: of everything random that is not seeded elsewhere.
        validation: makes loaders of held-out data by name, logged as ``valid/NAME``; how often says the Trainer's
            ``val_check_interval``.
        num_workers: reading processes.

    Raises:
        ValueError: the vocabulary has fewer rows than the tokenizer has ids.
    """
    # Lightning warns of its own deprecated calls, and of validation sets that are deliberately none.
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch\.utilities\.(_pytree|data)")
    # One training step is one optimizer step: the state after it is the one to continue from.
    warnings.filterwarnings("ignore", message="Using ModelCheckpoint with manual optimization")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    L.seed_everything(seed, verbose=False)
    module.tokenizer_ids = tokenizer.vocab_size
    folder = Path(output)
    trainer.callbacks.insert(0, ExportModel(folder / "model", tokenizer.path))  # type: ignore[attr-defined]
    last = folder / "checkpoints" / "last.ckpt"
    start = time.perf_counter()
    module.validation_names = list(validation or {})
    data = Loaders(batches, validation or {}, num_workers)
    trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        record = {"steps": trainer.global_step, "seconds": time.perf_counter() - start, "figures": figures}
        (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n")
