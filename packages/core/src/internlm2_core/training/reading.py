"""A training checkpoint as plain tensors and values, from one file or from shards, on one process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from internlm2_core.training.found import damage, newest, step_of

WEIGHTS = "weights."
"""What names of weights begin with in a sharded checkpoint."""


def checkpoint_at(path: str | Path) -> Path:
    """The checkpoint that a path leads to.

    Args:
        path: A checkpoint, a folder of checkpoints, or the folder of a run.

    Raises:
        FileNotFoundError: If there is none, or it is not whole.
        ValueError: If it differs from its checksums.
    """
    path = Path(path)
    for folder in (path, path / "checkpoints"):
        if folder.is_dir() and (found := newest(folder)) is not None:
            return found
    if not path.exists():
        raise FileNotFoundError(f"checkpoint={path} does not exist.")
    if step_of(path) is None:
        raise FileNotFoundError(f"checkpoint={path} is not a whole training checkpoint, and holds none.")
    if damaged := damage(path):
        raise ValueError(f"checkpoint={path} is damaged: {damaged} differs from its checksum.")
    return path


def refuse_other_model(here: Mapping[str, Tensor], there: Mapping[str, Tensor], strict: bool) -> None:
    """Refuse weights that are not those of a module.

    Args:
        here: Weights of the module by name, [...] each.
        there: Those of a checkpoint.
        strict: Whether all of them must be there, and no others.

    Raises:
        ValueError: If names or shapes differ.
    """
    for what, names in (("lacks", here.keys() - there.keys()), ("has besides", there.keys() - here.keys())):
        if strict and names:
            raise ValueError(
                f"The checkpoint is of another model: it {what} {min(names)}, {len(names)} weights in all."
            )
    for name, weight in here.items():
        if name in there and weight.shape != (other := there[name]).shape:
            raise ValueError(
                f"The checkpoint is of another model: {name} is {list(other.shape)} there and {list(weight.shape)} "
                "here."
            )


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Lightning's dictionary of a checkpoint, without pickle. Of a sharded one the weights are read and no moments.

    Args:
        path: A file or a sharded folder.
        map_location: See ``torch.load``.
    """
    if not path.is_dir():
        return dict(torch.load(path, map_location, weights_only=True, mmap=True))
    # torch's own index of a sharded checkpoint is pickled: see the page on checkpoints.
    stored = FileSystemReader(path).read_metadata().state_dict_metadata
    weights = {
        name.removeprefix(WEIGHTS): torch.empty(kind.size, dtype=kind.properties.dtype)
        for name, kind in stored.items()
        if name.startswith(WEIGHTS) and isinstance(kind, TensorStorageMetadata)
    }
    load({"weights": weights}, checkpoint_id=path, no_dist=True)
    return {**torch.load(path / "trainer.pt", map_location, weights_only=True), "state_dict": weights}
