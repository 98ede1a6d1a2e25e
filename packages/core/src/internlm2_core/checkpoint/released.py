"""The released layout: the network's own names in safetensors."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from internlm2_core.checkpoint.configs import released_config, size_of, write_model
from internlm2_core.checkpoint.folder import fill, read_json, read_tensors
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.rope import Scaling
from internlm2_core.sizes import ModelSize


def read_size(folder: str | Path) -> ModelSize:
    """The shape of the model in a folder, of whichever layout."""
    file = Path(folder) / "config.json"
    return size_of(read_json(file), file)


def load_released(
    folder: str | Path,
    attend: nn.Module | None = None,
    rope_base: float | None = None,
    max_positions: int | None = None,
    rope_scaling: Scaling = "none",
    rope_factor: float = 1.0,
) -> LanguageModel:
    """A language model from its folder, in the dtype of the file's tensors.

    Args:
        folder: released layout.
        attend: attention back end; None chooses.
        rope_base: another base than the config's, as the 32k phase wants.
        max_positions: another trained length than the config's.
        rope_scaling: see :class:`~internlm2_core.nn.rope.Rope`.
        rope_factor: see :class:`~internlm2_core.nn.rope.Rope`.

    Raises:
        FileNotFoundError: no config or no safetensors.
        ValueError: tensors that do not fit, or another layout.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if config.get("model_type") != "internlm2":
        raise ValueError(
            f"{folder} is of type {config.get('model_type')!r}; "
            f"`internlm2 convert from={folder} to=... format=released` makes it internlm2."
        )
    size = with_positions(size_of(config, folder / "config.json"), rope_base, max_positions)
    dtype = getattr(torch, config.get("torch_dtype", "float32"))
    with torch.device("meta"):
        net = LanguageModel(size, attend, rope_scaling, rope_factor).to(dtype)
    net.to_empty(device="cpu")
    fill(net, read_tensors(folder), folder)
    return net


def with_positions(size: ModelSize, rope_base: float | None, max_positions: int | None) -> ModelSize:
    """The same weights read with other positions."""
    return replace(size, rope_base=rope_base or size.rope_base, max_positions=max_positions or size.max_positions)


def save_released(
    folder: str | Path,
    size: ModelSize,
    tensors: Iterable[tuple[str, Tensor]],
    tokenizer_path: str | Path,
    architecture: str = "InternLM2ForCausalLM",
    shard_bytes: int = 5 * 2**30,
) -> None:
    """Write a model folder, atomically.

    Args:
        folder: where; an older one is replaced.
        size: the model's shape.
        tensors: names and full tensors, e.g. ``net.state_dict().items()``.
        tokenizer_path: file or model folder whose tokenizer goes along.
        architecture: what config.json names.
        shard_bytes: largest file.
    """
    write_model(folder, tensors, lambda dtype: released_config(size, dtype, architecture), tokenizer_path, shard_bytes)
