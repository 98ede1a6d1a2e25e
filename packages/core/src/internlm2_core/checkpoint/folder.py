"""Reading and writing the files of a model folder: safetensors, whole or in shards, and JSON."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from internlm2_core.nn.init import NamedTensors, Weights

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def tensor_files(folder: Path) -> dict[str, Path]:
    """Which file holds which tensor.

    Raises:
        FileNotFoundError: If the folder has no safetensors, or lacks one of them. Pickled weights are refused.
        ValueError: If the index of several files is broken.
    """
    if (folder / INDEX).is_file():
        return indexed_files(folder)
    if (folder / SINGLE).is_file():
        return dict.fromkeys(read_names(folder / SINGLE), folder / SINGLE)
    pickles = [file.name for file in folder.glob("*.bin")] if folder.is_dir() else []
    if pickles:
        raise FileNotFoundError(
            f"{folder} holds pickled weights ({pickles[0]}), which can run code when opened. "
            "Convert them to safetensors first."
        )
    raise FileNotFoundError(f"{folder} is not a model folder: it holds no {SINGLE}.")


def indexed_files(folder: Path) -> dict[str, Path]:
    """Which file holds which tensor, by the folder's index.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If the index is broken.
    """
    try:
        weight_map = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        files = {name: folder / file for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder / INDEX} is broken: it must be JSON with a weight_map of files by tensor."
        ) from error
    if outside := [file for file in files.values() if file.parent != folder or file.suffix != ".safetensors"]:
        raise ValueError(f"{folder / INDEX} names {outside[0]}, which is not a safetensors file of its folder.")
    if missing := sorted({file.name for file in files.values() if not file.is_file()}):
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} of the {len(set(files.values()))} files of its index, {missing[0]} among "
            "them. Fetch them again."
        )
    return files


def dtype_of(folder: Path, config: Mapping[str, Any]) -> torch.dtype:
    """Dtype of a model's weights. Where its config does not say, that of the first tensor.

    Args:
        folder: The model folder.
        config: Its ``config.json``.

    Raises:
        ValueError: If the dtype is not one of floating-point numbers.
    """
    name = config.get("dtype") or config.get("torch_dtype") or "auto"
    if name == "auto":
        return next(read_tensors(folder))[1].dtype
    dtype = getattr(torch, str(name).removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"{folder / 'config.json'}: torch_dtype={name!r} must be float32, bfloat16 or float16.")
    return dtype


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A safetensors file.

    Raises:
        ValueError: If the file is truncated or not a safetensors file.
    """
    try:
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    except SafetensorError as error:
        raise ValueError(
            f"{file} is truncated or not a safetensors file ({error}). Fetch or write it again."
        ) from error


def read_names(file: Path) -> list[str]:
    """Names of the tensors of a file.

    Raises:
        ValueError: If the file is truncated or not a safetensors file.
    """
    with opened(file) as tensors:
        return list(tensors.keys())


def read_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """All tensors of a folder, one at a time, on CPU.

    Raises:
        ValueError: If a file is truncated.
    """
    for file in sorted(set(tensor_files(folder).values())):
        with opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118 (safe_open has no __iter__)
                if not name.endswith("rotary_emb.inv_freq"):  # old folders store what the config says
                    yield name, tensors.get_tensor(name)


def write_tensors(folder: Path, tensors: NamedTensors, shard_bytes: int = 5 * 2**30) -> torch.dtype:
    """Write tensors as they come, with an index if they fill several files.

    Args:
        folder: An existing folder.
        tensors: Names and full tensors.
        shard_bytes: Size of the largest file.

    Returns:
        Dtype of the last tensor. Those of a model agree.
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


def fill(net: torch.nn.Module, tensors: NamedTensors, source: Path | str) -> None:
    """Copy tensors into the parameters of the same names. Every one must be there once and fit.

    Args:
        net: The network.
        tensors: Names and full tensors.
        source: Where they come from, for errors.

    Raises:
        ValueError: If a tensor is missing, surplus or misshapen. The error names it.
    """
    weights = dict(net.named_parameters())
    for name, tensor in checked(tensors, {name: weight.shape for name, weight in weights.items()}, source):
        with torch.no_grad():
            weights[name].copy_(tensor)


def checked(
    tensors: NamedTensors, shapes: Mapping[str, torch.Size], source: Path | str
) -> Iterator[tuple[str, Tensor]]:
    """The tensors as they come, each compared with the shape that it must have.

    Args:
        tensors: Names and full tensors.
        shapes: Shape of each tensor that must come.
        source: Where they come from, for errors.

    Raises:
        ValueError: If a tensor is missing, surplus or misshapen. The error names it.
    """
    missing = set(shapes)
    for name, tensor in tensors:
        if name not in shapes:
            raise ValueError(f"{source} holds a surplus tensor {name} {tuple(tensor.shape)} that the model has not.")
        if shapes[name] != tensor.shape:
            raise ValueError(f"{source}: tensor {name} has shape {tuple(tensor.shape)}, not {tuple(shapes[name])}.")
        yield name, tensor
        missing.discard(name)
    if missing:
        raise ValueError(f"{source} lacks {len(missing)} tensors, {min(missing)} among them.")


def allocated(net: torch.nn.Module) -> torch.nn.Module:
    """``net`` with memory on the CPU for its weights. Inside ``torch.device("meta")`` it stays as it is."""
    return net if torch.get_default_device().type == "meta" else net.to_empty(device="cpu")


def fill_or_defer(net: torch.nn.Module, weights: Weights, source: Path | str) -> None:
    """Fill a network. One on the meta device remembers the weights for the strategy that fills it later.

    Args:
        net: A network with an attribute ``initial_weights``.
        weights: Gives all of its weights.
        source: Where they come from, for errors.

    Raises:
        ValueError: If the weights do not fit, see `fill`.
    """
    if next(net.parameters()).is_meta:
        net.initial_weights = weights  # type: ignore[assignment]
    else:
        fill(net, weights(), source)


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write indented JSON.

    Args:
        file: The file.
        value: What it shall hold.
    """
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FileNotFoundError: If the file does not exist.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file.parent} is not a model folder: it holds no {file.name}.")
    value: dict[str, Any] = json.loads(file.read_text())
    return value
