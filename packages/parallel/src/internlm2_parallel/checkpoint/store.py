"""Saving and loading through the strategy: which part goes through DCP, which is Lightning's."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save, save
from torch.optim import Optimizer

from internlm2_parallel.checkpoint.folder import completed, draft_of, recover, refuse_damaged
from internlm2_parallel.checkpoint.one_file import set_whole_state
from internlm2_parallel.checkpoint.own import restore_own, write_own
from internlm2_parallel.checkpoint.policy import Archive, CheckpointPolicy
from internlm2_parallel.checkpoint.state import (
    optimizers_of,
    set_state,
    take_moments_that_lack,
    weights_of,
)
from internlm2_parallel.checkpoint.writer import AtomicWriter
from internlm2_parallel.names import named_weights


class CheckpointStore:
    """Sharded checkpoints of one run.

    Args:
        policy: Synchronous or not, remote store, retention.
    """

    def __init__(self, policy: CheckpointPolicy) -> None:
        self.policy, self.archive = policy, Archive(policy)
        self._pending: tuple[Path, Future[Any]] | None = None
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

        Raises:
            OSError: If it could not be written, on every rank alike. Nothing of it is left then.
        """
        self.wait()
        draft = draft_of(target)
        state = {"weights": checkpoint.pop("state_dict"), **optimizers_of(module, optimizers)}
        together(target, lambda: begin(draft) if dist.get_rank() == 0 else None)
        together(target, lambda: write_own(draft, layout, {**checkpoint, "weight_names": weight_names}))
        writer = AtomicWriter(target, self.archive)
        if self.policy.asynchronous:
            if self._group is None:
                # Its own group: the background thread must not mix with the collectives of training.
                self._group = dist.new_group(backend="gloo")
            pending = async_save(state, storage_writer=writer, process_group=self._group)
            assert isinstance(pending, Future)
            self._pending = (target, pending)
        else:
            with one_sentence(target):
                save(state, storage_writer=writer)

    def wait(self) -> None:
        """Until the checkpoint that is being written is whole.

        Raises:
            OSError: If it could not be written.
        """
        if self._pending is not None:
            (target, pending), self._pending = self._pending, None
            with one_sentence(target):
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
        weight_names: list[list[list[str]]],
    ) -> dict[str, Any]:
        """Read a checkpoint of any layout, or one file of plain Lightning. Collective.

        Args:
            source: A sharded folder, or a file.
            module: The LightningModule.
            optimizers: Optimizers over its weights.
            layout: Description of the present layout.
            strict: Whether all weights must be there, and no others.
            weights_only: See ``torch.load``. None means yes.
            weight_names: Weight names of the groups of each optimizer, over all stages.

        Returns:
            Lightning's dictionary. ``state_dict`` holds the weights that were read, already in place.

        Raises:
            FileNotFoundError: If there is nothing, or a folder that is not a whole checkpoint.
            ValueError: If it is damaged, of another model, or its ranks had loaders of their own under another layout.
        """
        recover(source)
        safely = True if weights_only is None else weights_only
        if self.policy.verify and (source.is_file() or completed(source)):
            refuse_damaged(source)
        if source.is_file():
            checkpoint = torch.load(source, map_location="cpu", weights_only=safely)
            shapes = {name: list(weight.shape) for name, weight in checkpoint["state_dict"].items()}
            refuse_other_model(source, weights_of(module), shapes, strict)
            set_whole_state(module, optimizers, checkpoint, weight_names, strict)
            return checkpoint
        if not completed(source):
            raise FileNotFoundError(f"ckpt_path={source} is not a whole checkpoint.")
        state = {"weights": weights_of(module), **optimizers_of(module, optimizers, makes_moments=True)}
        stored = FileSystemReader(source).read_metadata().state_dict_metadata
        split = {name.removeprefix("weights."): shape_of(it) for name, it in stored.items() if is_weight(name)}
        refuse_other_model(source, state["weights"], split, strict)
        if not strict:
            state["weights"] = {name: w for name, w in state["weights"].items() if f"weights.{name}" in stored}
        fresh = take_moments_that_lack(state, stored)
        load(state, checkpoint_id=source)
        set_state(module, optimizers, state, fresh)
        checkpoint = torch.load(source / "trainer.pt", map_location="cpu", weights_only=safely)
        checkpoint["state_dict"] = state["weights"]
        restore_own(source, checkpoint, layout, safely)
        return checkpoint


def is_weight(name: str) -> bool:
    """Whether a tensor of a sharded checkpoint is a weight."""
    return name.startswith("weights.")


def shape_of(entry: Any) -> list[int]:
    """The shape in torch's description of a tensor. Weights that are not tensors have none."""
    return list(getattr(entry, "size", ()))


def refuse_other_model(source: Path, weights: Mapping[str, Any], there: Mapping[str, list[int]], strict: bool) -> None:
    """Refuse a checkpoint whose weights are not those of a module. Collective.

    Args:
        source: The checkpoint.
        weights: Those of this rank, still split.
        there: Shape of each weight in the checkpoint.
        strict: Whether all weights of all ranks must be there, and no others.

    Raises:
        ValueError: If names or shapes differ, on every rank alike.
    """
    shapes: list[dict[str, list[int]]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(shapes, {name: list(getattr(weight, "shape", ())) for name, weight in weights.items()})
    here = {name: shape for rank in shapes for name, shape in rank.items()}
    differ = {name for name in here.keys() & there.keys() if here[name] != there[name]}
    if strict:
        differ |= here.keys() ^ there.keys()
    for name in sorted(differ):
        raise ValueError(
            f"ckpt_path={source} is of another model: {name} is {there.get(name, 'not')} there and "
            f"{here.get(name, 'not')} here, one of {len(differ)}."
        )


def begin(draft: Path) -> None:
    """An empty draft in the place of what a run that was killed has left."""
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)


def together(target: Path, write: Callable[[], None]) -> None:
    """Write on each rank. Where it fails on one, all know. Collective.

    Args:
        target: The checkpoint.
        write: Writes to its draft.

    Raises:
        OSError: If it failed on any rank.
    """
    failure: BaseException | None = None
    try:
        write()
    except (OSError, RuntimeError) as error:  # torch wraps what writing raises
        failure = error
    reasons: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(reasons, None if failure is None else str(failure.__context__ or failure))
    if reason := next(filter(None, reasons), None):
        give_up(target, reason, failure)


@contextmanager
def one_sentence(target: Path) -> Iterator[None]:
    """What torch raises on every rank where a part could not be written, as one sentence.

    Args:
        target: The checkpoint.

    Raises:
        OSError: If it could not be written.
    """
    try:
        yield
    except CheckpointException as error:
        reason, _ = next(iter(error.failures.values()))
        give_up(target, str(reason.__context__ or reason), error)


def give_up(target: Path, reason: str, cause: BaseException | None) -> NoReturn:
    """Remove the draft, and say why.

    Args:
        target: The checkpoint.
        reason: In words.
        cause: What this rank raised, if it did.

    Raises:
        OSError: If it is called.
    """
    shutil.rmtree(draft_of(target), ignore_errors=True)
    raise OSError(f"{target} was not written: {reason}. The checkpoint before it is as it was.") from cause


def names_in_groups(module: nn.Module, optimizer: Optimizer, join: Callable[[list[str]], list[str]]) -> list[list[str]]:
    """Weight names of each parameter group.

    Args:
        module: The LightningModule.
        optimizer: Over its weights.
        join: Adds the names of the other stages.
    """
    name_of = {weight: name for name, weight in named_weights(module)}
    return [join([name_of[weight] for weight in group["params"]]) for group in optimizer.param_groups]
