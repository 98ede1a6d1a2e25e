"""Train an LM on batches: pre-training and supervised fine-tuning alike."""

import json
import logging
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L

from internlm2_core.batch import Batch
from internlm2_core.callbacks.export import ExportModel
from internlm2_core.callbacks.validate_last import ValidateLast
from internlm2_core.lm import LM
from internlm2_core.optim import Cosine
from internlm2_core.phases import Batches, BatchLoader
from internlm2_core.shares import share_of
from internlm2_core.text.tokenizer import Tokenizer, check_same_vocabulary

log = logging.getLogger(__name__)


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
        return [FromTheStart(self._load(batches)) for batches in self.validation.values()]

    def _load(self, batches: Batches) -> BatchLoader:
        assert self.trainer is not None
        share = share_of(self.trainer)
        return batches.loader(share["rank"], share["num_replicas"], self.num_workers)


class FromTheStart:
    """A loader that begins with the same batch every time, also after it was left in the middle.

    Args:
        loader: which goes on where it was left.
    """

    def __init__(self, loader: BatchLoader) -> None:
        self.loader, self._start = loader, loader.state_dict()

    def __len__(self) -> int:
        """Batches of a pass."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        """One pass."""
        self.loader.load_state_dict(self._start)
        return iter(self.loader)


def fit(
    module: LM,
    batches: Batches,
    trainer: L.Trainer,
    tokenizer: Tokenizer,
    output: str,
    seed: int,
    validation: Mapping[str, Any] | None = None,
    num_workers: int = 0,
    init_from: str | None = None,
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
        validation: files of held-out data by name, of which ``batches.held_out`` makes batches; their loss is logged
            as ``valid/NAME`` every ``val_check_interval`` steps of the Trainer, and after the last one.
        num_workers: reading processes.
        init_from: folder of the model that training starts from, whose tokenizer must be this one.

    Raises:
        ValueError: the vocabulary has fewer rows than the tokenizer has ids, or is not that of ``init_from``.
    """
    # Lightning warns of its own deprecated calls, and of validation sets that are deliberately none.
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch\.utilities\.(_pytree|data)")
    # One training step is one optimizer step: the state after it is the one to continue from.
    warnings.filterwarnings("ignore", message="Using ModelCheckpoint with manual optimization")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    L.seed_everything(seed, verbose=False)
    module.tokenizer_ids = tokenizer.vocab_size
    if init_from is not None:
        check_same_vocabulary(tokenizer, init_from)
    settle_steps(module, batches, trainer)
    folder = Path(output)
    trainer.callbacks.insert(0, ExportModel(folder / "model", tokenizer.path))  # type: ignore[attr-defined]
    last = folder / "checkpoints" / "last.ckpt"
    start = time.perf_counter()
    held_out = {name: batches.held_out(files) for name, files in (validation or {}).items()}
    module.validation_names = list(held_out)
    if held_out:
        trainer.callbacks.append(ValidateLast())  # type: ignore[attr-defined]
    data = Loaders(batches, held_out, num_workers)
    trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        record = {"steps": trainer.global_step, "seconds": time.perf_counter() - start, "figures": figures}
        (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n")


def settle_steps(module: LM, batches: Batches, trainer: L.Trainer) -> None:
    """Count the steps of a run whose schedule or length is left open: ``max_epochs`` passes over the batches, or one.

    A schedule is told of them even where ``max_steps`` stops the run before: it goes on as one that was not stopped.
    """
    schedule = module.schedule
    is_open = isinstance(schedule, Cosine) and schedule.total_steps == -1
    if trainer.max_steps >= 0 and not is_open:
        return
    passes = max(1, trainer.max_epochs or 1)
    steps = passes * len(batches.loader(0, 1, 0))
    log.info("%d steps: %d pass(es) over the batches", steps, passes)
    if trainer.max_steps < 0:
        trainer.fit_loop.epoch_loop.max_steps = steps
    if isinstance(schedule, Cosine):
        module.schedule = schedule.over(steps)
        if module.schedule.warmup_steps < schedule.warmup_steps:
            log.warning(
                "the warm-up takes %d steps, not warmup_steps=%d: the schedule has only %d (phase.steps sets them)",
                module.schedule.warmup_steps,
                schedule.warmup_steps,
                steps,
            )
