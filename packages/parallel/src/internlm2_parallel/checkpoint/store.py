"""Saving and loading through the strategy: which part goes through DCP, which is Lightning's."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from internlm2_parallel.checkpoint.background import Background
from internlm2_parallel.checkpoint.failing import begin, checked, one_sentence, together
from internlm2_parallel.checkpoint.folder import completed, draft_of, publish_linked, recover, refuse_damaged
from internlm2_parallel.checkpoint.one_file import set_whole_state
from internlm2_parallel.checkpoint.own import restore_own, write_own
from internlm2_parallel.checkpoint.policy import Archive, CheckpointPolicy, fetch_missing
from internlm2_parallel.checkpoint.staging import Staging, State, local
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

    Attributes:
        staging: The copy from which a checkpoint is written in the background.
        check: Raises if that copy must not be written. Of the next checkpoint.
    """

    def __init__(self, policy: CheckpointPolicy) -> None:
        self.policy, self.archive, self.staging = policy, Archive(policy), Staging()
        self.background = Background()
        self.check: Callable[[State], None] | None = None
        self._last: tuple[Path, list[Any]] | None = None
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
        """Write a checkpoint. Collective. Tensors that the last one holds already are linked to it.

        Args:
            target: Final folder, the same on every rank.
            checkpoint: Lightning's dictionary. ``state_dict`` holds the weights that are saved, still split.
            module: The LightningModule.
            optimizers: Optimizers whose state is saved. None of them saves weights alone.
            layout: Description of the layout. Random state is only restored under the same one.
            weight_names: Weight names of the groups of each optimizer.

        Raises:
            OSError: If it, or the one before it in the background, could not be written, on every rank alike. Nothing
                of it is left then.
            Exception: If the check of the one before has raised it.
        """
        check, self.check = self.check, None
        state = {"weights": checkpoint.pop("state_dict"), **optimizers_of(module, optimizers)}
        now = content([checkpoint.get("global_step"), layout], state)
        first = self._holds(now, target)
        if first is None:
            self.wait()
        draft = draft_of(target)
        together(target, lambda: begin(draft) if dist.get_rank() == 0 else None)
        together(target, lambda: write_own(draft, layout, {**checkpoint, "weight_names": weight_names}))
        self._last = (target, now)
        if not self.policy.asynchronous:
            self._write(target, state, first, check)
            return
        if self._group is None:
            # Its own group: the background thread must not mix with the collectives of training.
            self._group = dist.new_group(backend="gloo")
        if first is None:
            state = self.staging.begin(state, {name for name, _ in module.named_buffers()})
        self.background.do(lambda: self._write(target, state, first, check))

    def _write(self, target: Path, state: State, first: Path | None, check: Callable[[State], None] | None) -> None:
        """Write or link what is split, and publish. Collective.

        Args:
            target: Final folder, whose draft holds the rest.
            state: What is split.
            first: A whole checkpoint of the same state.
            check: Raises if it must not be written.
        """
        if first is not None:
            is_first = dist.get_rank() == 0
            archive = partial(self.archive, like=first.name)
            together(target, lambda: publish_linked(first, target, archive) if is_first else None, self._group)
            return
        together(target, self.staging.wait, self._group)
        if check is not None:
            checked(target, partial(check, state), self._group)
        with one_sentence(target):
            save(state, storage_writer=AtomicWriter(target, self.archive), process_group=self._group)

    def _holds(self, now: list[Any], target: Path) -> Path | None:
        """The last checkpoint, if another one, still there and of the same state on all ranks. Collective."""
        if self._last is None or self._last[0] == target or self._last[1][0] != now[0]:
            return None
        first, then = self._last
        same = [False] * dist.get_world_size()
        dist.all_gather_object(same, then == now and (self.background.is_busy or first.is_dir()))
        return first if all(same) else None

    def remove(self, path: Path) -> None:
        """Remove a checkpoint, once those that are being written are whole. Called on the first rank.

        Args:
            path: A sharded folder or a file.
        """
        self.background.do(lambda: shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True))
        if not self.policy.asynchronous:
            self.wait()

    def wait(self) -> None:
        """Until the checkpoint that is being written is whole.

        Raises:
            OSError: If it could not be written.
            Exception: If its check has raised it.
        """
        self.background.wait()

    def close(self) -> None:
        """Until everything is written and copied."""
        self.wait()
        self.archive.wait()

    def bring(self, source: Path, is_first_of_node: bool) -> None:
        """Copy a checkpoint back from the remote store where it is not here. Collective.

        Args:
            source: Where it belongs. The first rank copies it, then each node that does not see that copy.
            is_first_of_node: Whether this is the first rank of its node.

        Raises:
            OSError: If it could not be copied.
        """
        remote = self.policy.remote
        if remote is None:
            return
        for fetches in (dist.get_rank() == 0, is_first_of_node):
            together(source, partial(fetch_missing, source, remote) if fetches else lambda: None)

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


def content(of: list[Any], state: State) -> list[Any]:
    """What tells a state from others of the run, without reading it: where tensors are, how often each changed.

    Args:
        of: What else tells it, such as the step.
        state: Tensors and plain values by kind and name.
    """
    values = [value for entries in state.values() for value in entries.values()]
    return [*of, *((local(v).data_ptr(), v._version) if isinstance(v, Tensor) else v for v in values)]


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


def names_in_groups(module: nn.Module, optimizer: Optimizer, join: Callable[[list[str]], list[str]]) -> list[list[str]]:
    """Weight names of each parameter group.

    Args:
        module: The LightningModule.
        optimizer: Over its weights.
        join: Adds the names of the other stages.
    """
    name_of = {weight: name for name, weight in named_weights(module)}
    return [join([name_of[weight] for weight in group["params"]]) for group in optimizer.param_groups]
