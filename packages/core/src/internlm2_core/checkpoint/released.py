"""The released layout: the network's own names in safetensors."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from internlm2_core.checkpoint.configs import released_config, size_of, write_model
from internlm2_core.checkpoint.folder import allocated, dtype_of, fill_or_defer, read_json, read_tensors
from internlm2_core.nn.init import NamedTensors
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.split import joined
from internlm2_core.sizes import ModelSize, RopeScaling


def read_size(folder: str | Path) -> ModelSize:
    """The shape of the model in a folder, of whichever layout."""
    file = Path(folder) / "config.json"
    return size_of(read_json(file), file)


def tensor_shapes(size: ModelSize, is_reward: bool = False) -> dict[str, torch.Size]:
    """Names and shapes of all tensors of a model.

    Args:
        size: The model's shape.
        is_reward: Whether it is a reward model and not a language model.
    """
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in LanguageModel(size).named_parameters()}
    if is_reward:
        del shapes["output.weight"]
        shapes["v_head.weight"] = torch.Size((1, size.dim))
    return shapes


def size_in_phase(
    folder: str | Path | None,
    context: int,
    rope_base: float | None = None,
    rope_scaling: RopeScaling | None = None,
    rope_factor: float | None = None,
) -> ModelSize:
    """The shape of the model in a folder, for training on documents of ``context`` tokens.

    Args:
        folder: A model of whichever layout.
        context: Tokens of the longest document.
        rope_base: Base of the rotary frequencies, with which ``context`` becomes the trained length. None keeps the
            model's own base and trained length.
        rope_scaling: See `ModelSize`. None keeps the model's.
        rope_factor: See `ModelSize`. None keeps the model's.

    Raises:
        FileNotFoundError: If the folder has no config.
        ValueError: If ``folder`` is None, or ``context`` is beyond the trained length and no ``rope_base`` is given.
    """
    if folder is None:
        raise ValueError("init_from=None must be a model folder: the shape is taken from it.")
    size = read_size(folder)
    if rope_base is not None:
        size = replace(size, rope_base=rope_base, max_positions=context)
    if context > size.max_positions:
        raise ValueError(
            f"context={context} must be at most {size.max_positions}, the trained length of {folder}. "
            f"A rope_base above its {size.rope_base:g} lengthens it."
        )
    given: dict[str, Any] = {"rope_scaling": rope_scaling, "rope_factor": rope_factor}
    return replace(size, **{name: value for name, value in given.items() if value is not None})


def load_released(
    folder: str | Path,
    attend: nn.Module | None = None,
    positions: ModelSize | None = None,
    dtype: torch.dtype | None = None,
) -> LanguageModel:
    """A language model from its folder, on the CPU.

    Inside ``torch.device("meta")`` the tensors are left in the folder, for a strategy to fill in.

    Args:
        folder: A model folder in released layout.
        attend: Attention back end. None takes the fastest on this machine.
        positions: Take RoPE and trained length from this size instead of the config, as a new phase does.
        dtype: Dtype of the weights. None takes that of the files. Training wants float32, see `start_model`.

    Raises:
        FileNotFoundError: If the folder lacks config.json or safetensors.
        ValueError: If the layout is another one, or the tensors do not fit.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if config.get("model_type") != "internlm2":
        raise ValueError(
            f"{folder} holds a model of type {config.get('model_type')!r}, not internlm2. "
            f"Convert it with `internlm2 convert from={folder} to=FOLDER format=released`."
        )
    size = size_of(config, folder / "config.json")
    if positions:
        size = size.at_positions_of(positions)
    dtype = dtype or dtype_of(folder, config)
    with torch.device("meta"):
        net = LanguageModel(size, attend).to(dtype)
    fill_or_defer(allocated(net), partial(read_tensors, folder), folder)
    return net


def save_released(
    folder: str | Path,
    size: ModelSize,
    tensors: NamedTensors,
    tokenizer_path: str | Path,
    is_reward: bool = False,
    shard_bytes: int = 5 * 2**30,
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Write a model folder, atomically.

    Args:
        folder: The new folder. An older model is replaced, see `internlm2_core.checkpoint.replacing`.
        size: The model's shape.
        tensors: Names and full tensors, such as ``net.state_dict().items()``. Split projections are joined.
        tokenizer_path: File or model folder whose tokenizer goes along.
        is_reward: Whether the tensors have ``v_head`` in the place of ``output``.
        shard_bytes: Size of the largest file.
        beside: Writes more files into the folder.
    """
    tensors = joined(tensors, size.q_per_kv, size.head_dim)
    config = partial(released_config, size, is_reward=is_reward)
    write_model(folder, tensors, config, tokenizer_path, shard_bytes, beside)
