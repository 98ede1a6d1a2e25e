"""Saving and loading through the strategy: which part goes through DCP, which is Lightning's."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save, save
from torch.optim import Optimizer

from internlm2_parallel.checkpoint.folder import completed, draft_of, recover
from internlm2_parallel.checkpoint.one_file import set_whole_state
from internlm2_parallel.checkpoint.policy import Archive, CheckpointPolicy
from internlm2_parallel.checkpoint.state import optimizers_of, random_state, set_random_state, set_state, weights_of
from internlm2_parallel.checkpoint.writer import AtomicWriter
from internlm2_parallel.names import named_weights


class CheckpointStore:
    """Sharded checkpoints of one run.

    Args:
        policy: Synchronous or not, remote store, retention.
    """

    def __init__(self, policy: CheckpointPolicy) -> None:
        self.policy, self.archive = policy, Archive(policy)
        self._pending: Future[Any] | None = None
        self._group: dist.ProcessGroup | None = None

    def save(
        self,
        target: Path,
        checkpoint: dict[str, Any],
        module: nn.Module,
        optimizers: Sequence[Optimizer],
        layout: str,
        weight_names: list[list[list[str]]],
    ) -> None:
        """Write a checkpoint. Collective.

        Args:
            target: Final folder, the same on every rank.
            checkpoint: Lightning's dictionary. ``state_dict`` holds the weights that are saved, still split.
            module: The LightningModule.
            optimizers: Optimizers whose state is saved. None of them saves weights alone.
            layout: Description of the layout. Random state is only restored under the same one.
            weight_names: Weight names of the groups of each optimizer.
        """
        self.wait()
        rank, draft = dist.get_rank(), draft_of(target)
        state = {"weights": checkpoint.pop("state_dict"), **optimizers_of(module, optimizers)}
        if rank == 0:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        dist.barrier()
        loader = checkpoint.get("loops", {}).get("fit_loop", {}).get("state_dict", {}).get("combined_loader", {})
        torch.save({"layout": layout, "random": random_state(), "loader": loader}, draft / f"rank-{rank}.pt")
        if rank == 0:
            torch.save({**checkpoint, "weight_names": weight_names}, draft / "trainer.pt")
        dist.barrier()
        writer = AtomicWriter(target, self.archive)
        if self.policy.asynchronous:
            if self._group is None:
                # Its own group: the background thread must not mix with the collectives of training.
                self._group = dist.new_group(backend="gloo")
            pending = async_save(state, storage_writer=writer, process_group=self._group)
            assert isinstance(pending, Future)
            self._pending = pending
        else:
            save(state, storage_writer=writer)

    def wait(self) -> None:
        """Until the checkpoint that is being written is whole.

        Raises:
            Exception: If something went wrong while it was written.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """Until everything is written and copied."""
        self.wait()
        self.archive.wait()

    def load(
        self,
        source: Path,
        module: nn.Module,
        optimizers: Sequence[Optimizer],
        layout: str,
        strict: bool,
        weights_only: bool | None,
    ) -> dict[str, Any]:
        """Read a checkpoint of any layout, or one file of plain Lightning. Collective.

        Returns:
            Lightning's dictionary. ``state_dict`` holds the weights that were read, already in place.

        Raises:
            FileNotFoundError: If there is nothing, or a folder that is not a whole checkpoint.
        """
        recover(source)
        safely = True if weights_only is None else weights_only
        if source.is_file():
            checkpoint = torch.load(source, map_location="cpu", weights_only=safely)
            set_whole_state(module, optimizers, checkpoint)
            return checkpoint
        if not completed(source):
            raise FileNotFoundError(f"ckpt_path={source} is not a whole checkpoint.")
        state = {"weights": weights_of(module), **optimizers_of(module, optimizers)}
        if not strict:
            stored = FileSystemReader(source).read_metadata().state_dict_metadata
            state["weights"] = {name: w for name, w in state["weights"].items() if f"weights.{name}" in stored}
        load(state, checkpoint_id=source)
        set_state(module, optimizers, state)
        checkpoint = torch.load(source / "trainer.pt", map_location="cpu", weights_only=safely)
        checkpoint["state_dict"] = state["weights"]
        own = source / f"rank-{dist.get_rank()}.pt"
        mine = torch.load(own, map_location="cpu", weights_only=safely) if own.is_file() else {}
        if mine.get("layout") == layout:
            set_random_state(mine["random"])
            if mine["loader"]:
                checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"] = mine["loader"]
        return checkpoint


def names_in_groups(module: nn.Module, optimizer: Optimizer, join: Callable[[list[str]], list[str]]) -> list[list[str]]:
    """Weight names of each parameter group.

    Args:
        module: The LightningModule.
        optimizer: Over its weights.
        join: Adds the names of the other stages.
    """
    name_of = {weight: name for name, weight in named_weights(module)}
    return [join([name_of[weight] for weight in group["params"]]) for group in optimizer.param_groups]
