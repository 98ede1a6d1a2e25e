"""Short training runs of the tiny module, and their record."""

import logging
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L

from internlm2_parallel.search.plans import Kept
from internlm2_parallel.strategy import MeshStrategy
from internlm2_parallel.testing.ranks import run_ranks
from internlm2_parallel.testing.table import Case
from internlm2_parallel.testing.tiny import TinyLlama, TinyLM


class Record(NamedTuple):
    """What a run leaves: one number a step.

    Attributes:
        losses: Mean loss per token of the global batch, nats.
        norms: Global gradient norm before clipping.
    """

    losses: list[float]
    norms: list[float]

    def distance(self, other: "Record", first: int = 0) -> float:
        """Largest difference of a loss or norm, this run beginning at step ``first`` of the other."""
        steps = slice(first, first + len(self.losses))
        pairs = [*zip(self.losses, other.losses[steps], strict=True), *zip(self.norms, other.norms[steps], strict=True)]
        return max(abs(a - b) for a, b in pairs)


class SaveAt(L.Callback):
    """Save a checkpoint after a step.

    Args:
        step: Number of optimizer steps done.
        path: Where.
    """

    def __init__(self, step: int, path: str | Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Save."""
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def quiet_trainer(strategy: Any, devices: int, **options: Any) -> L.Trainer:
    """A CPU trainer that says and writes nothing of its own.

    Args:
        strategy: A strategy of Lightning, or its name.
        devices: Ranks on this node.
        options: Options of the trainer.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    return L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy=strategy,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **{"max_epochs": 1, "enable_checkpointing": False, **options},
    )


def train(strategy: Any, devices: int, ckpt_path: Any = None, module: TinyLM | None = None, **options: Any) -> Record:
    """Train in this process or rank.

    Args:
        strategy: A strategy of Lightning, or its name.
        devices: Ranks on this node.
        ckpt_path: Checkpoint to resume from.
        module: What is trained. None takes a tiny language model.
        options: Options of the trainer.
    """
    module = module or _tiny_module(ckpt_path)
    quiet_trainer(strategy, devices, **options).fit(module, ckpt_path=ckpt_path)
    return Record(module.losses, module.norms)


def _tiny_module(ckpt_path: Any = None, keeps: Kept = "all") -> TinyLM:
    """What is trained where a test does not say."""
    # A resumed run starts from other weights, so that whatever is not restored shows.
    return TinyLM(net=partial(TinyLlama, seed=0 if ckpt_path is None else 7), keeps=keeps)


def train_case(
    case: Case,
    ckpt_path: Any = None,
    module: Callable[[], TinyLM] | None = None,
    strategy: Callable[[Case], MeshStrategy] | None = None,
    deadline_s: float = 180.0,
    **options: Any,
) -> list[Record]:
    """Train under a layout on forked ranks.

    Args:
        case: A row of the table.
        ckpt_path: Checkpoint to resume from.
        module: Makes what is trained. None takes a tiny language model.
        strategy: Makes the strategy of a case. None takes its layout and treatment.
        deadline_s: Seconds until every rank is killed.
        options: Options of the trainer.

    Returns:
        One record a rank.
    """
    make = strategy or (lambda case: MeshStrategy(case.layout, case.treatment))

    def rank() -> Record:
        trained = module() if module else _tiny_module(ckpt_path, case.keeps)
        return train(make(case), case.ranks, ckpt_path, trained, **options)

    return run_ranks(rank, case.ranks, join=False, deadline_s=deadline_s)
