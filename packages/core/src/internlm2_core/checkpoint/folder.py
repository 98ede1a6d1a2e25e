"""Reading and writing a folder of safetensors, whole or in shards, atomically."""

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from internlm2_core.nn.init import Weights

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder that appears at ``path`` only when the block ends without an error; an older one is replaced."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.draft")
    draft.mkdir()
    try:
        yield draft
        if path.exists():
            shutil.rmtree(path)
        draft.replace(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def tensor_files(folder: Path) -> dict[str, Path]:
    """Which file holds which tensor.

    Raises:
        FileNotFoundError: the folder has no safetensors; pickled weights are refused.
    """
    if (folder / INDEX).is_file():
        weight_map: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
        return {name: folder / file for name, file in weight_map.items()}
    if (folder / SINGLE).is_file():
        return dict.fromkeys(read_names(folder / SINGLE), folder / SINGLE)
    pickles = [file.name for file in folder.glob("*.bin")] if folder.is_dir() else []
    if pickles:
        raise FileNotFoundError(
            f"{folder} holds pickled weights ({pickles[0]}), which can run code when opened; "
            "convert them to safetensors first."
        )
    raise FileNotFoundError(f"{folder} holds no model.safetensors; set checkpoint= to a model folder.")


def read_names(file: Path) -> list[str]:
    """Names of the tensors of a file.

    Raises:
        ValueError: the file is truncated or no safetensors file.
    """
    try:
        with safe_open(file, framework="pt") as tensors:
            return list(tensors.keys())
    except SafetensorError as error:
        raise ValueError(f"{file} is truncated or no safetensors file ({error}); fetch or write it again.") from error


def read_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """All tensors of a folder, one at a time, on CPU.

    Raises:
        ValueError: a file is truncated.
    """
    files = tensor_files(folder)
    for file in sorted(set(files.values())):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (safe_open has no __iter__)
                    yield name, tensors.get_tensor(name)
        except SafetensorError as error:
            raise ValueError(
                f"{file} is truncated or no safetensors file ({error}); fetch or write it again."
            ) from error


def write_tensors(folder: Path, tensors: Iterable[tuple[str, Tensor]], shard_bytes: int = 5 * 2**30) -> torch.dtype:
    """Write tensors as they come, in files of at most ``shard_bytes`` bytes, with an index if there are several.

    Returns:
        Dtype of the last tensor; those of a model agree.
    """
    shards: list[list[str]] = []
    shard: dict[str, Tensor] = {}
    held = total = 0

    def flush() -> None:
        nonlocal held
        save_file(shard, folder / f"shard-{len(shards)}", metadata={"format": "pt"})
        shards.append(list(shard))
        shard.clear()
        held = 0

    for name, tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if shard and held + size > shard_bytes:
            flush()
        shard[name] = tensor.detach().cpu().contiguous()
        held, total = held + size, total + size
    flush()
    dtype = tensor.dtype
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = SINGLE if len(shards) == 1 else f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        (folder / f"shard-{number}").replace(folder / file)
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    return dtype


def fill(net: torch.nn.Module, tensors: Iterable[tuple[str, Tensor]], source: Path | str) -> None:
    """Copy tensors into the parameters of the same names; every one must be there once and fit.

    Raises:
        ValueError: a missing, surplus or misshapen tensor, named.
    """
    weights = dict(net.named_parameters())
    for name, tensor in checked(tensors, {name: weight.shape for name, weight in weights.items()}, source):
        with torch.no_grad():
            weights[name].copy_(tensor)


def checked(
    tensors: Iterable[tuple[str, Tensor]], shapes: Mapping[str, torch.Size], source: Path | str
) -> Iterator[tuple[str, Tensor]]:
    """The tensors as they come, each compared with the shape that it must have, and their names with those of all.

    Raises:
        ValueError: a missing, surplus or misshapen tensor, named.
    """
    missing = set(shapes)
    for name, tensor in tensors:
        if name not in shapes:
            raise ValueError(
                f"{source} holds a surplus tensor {name} {tuple(tensor.shape)}; the model has no place for it."
            )
        if shapes[name] != tensor.shape:
            raise ValueError(f"{source}: tensor {name} has shape {tuple(tensor.shape)}, not {tuple(shapes[name])}.")
        yield name, tensor
        missing.discard(name)
    if missing:
        raise ValueError(f"{source} lacks {len(missing)} tensors, {min(missing)} among them.")


def allocated(net: torch.nn.Module) -> torch.nn.Module:
    """``net`` with memory on the CPU for its weights; as it is inside ``torch.device("meta")``."""
    return net if torch.get_default_device().type == "meta" else net.to_empty(device="cpu")


def fill_or_defer(net: torch.nn.Module, weights: Weights, source: Path | str) -> None:
    """Fill a network; one on the meta device remembers the weights for the strategy that fills it later.

    Args:
        net: with an attribute ``initial_weights``.
        weights: all of its weights.
        source: named in errors.

    Raises:
        ValueError: see :func:`fill`.
    """
    if next(net.parameters()).is_meta:
        net.initial_weights = weights  # type: ignore[assignment]
    else:
        fill(net, weights(), source)


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Indented JSON with a last line end."""
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FileNotFoundError: no such file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; set checkpoint= to a model folder.")
    value: dict[str, Any] = json.loads(file.read_text())
    return value
