"""Open a model folder of whichever layout."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from internlm2_core.checkpoint.folder import read_json, read_tensors
from internlm2_core.checkpoint.llama import load_llama, read_llama
from internlm2_core.checkpoint.released import load_released
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import ModelSize


def layout_of(folder: str | Path) -> str:
    """``released``, ``llama``, ``reward`` (released layout) or ``llama-reward`` (sequence classifier), by config.json.

    Raises:
        FileNotFoundError: If the folder lacks config.json.
        ValueError: If the model is of another family.
    """
    config = read_json(Path(folder) / "config.json")
    family, named = config.get("model_type"), " ".join(config.get("architectures") or [])
    if family == "internlm2":
        return "reward" if "Reward" in named else "released"
    if family == "llama":
        return "llama-reward" if "SequenceClassification" in named else "llama"
    raise ValueError(f"{folder} holds a model of type {family!r}. The types internlm2 and llama can be read.")


def read_model(folder: str | Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a folder of whichever layout, one at a time, on CPU, under released names.

    A tied head of a Llama becomes a copy of the embedding.

    Raises:
        FileNotFoundError: If the folder lacks config.json or safetensors.
        ValueError: If the model is of another family, or a file is truncated.
    """
    folder = Path(folder)
    return read_llama(folder) if layout_of(folder).startswith("llama") else read_tensors(folder)


def load_model(
    folder: str | Path,
    attend: nn.Module | None = None,
    positions: ModelSize | None = None,
    dtype: torch.dtype | None = None,
) -> LanguageModel:
    """A language model from a folder of released or Llama layout.

    Inside ``torch.device("meta")`` the tensors are left in the folder, for a strategy to fill in.

    Args:
        folder: The model folder.
        attend: Attention back end. None takes the fastest on this machine.
        positions: Take RoPE and trained length from this size instead of the config, as a new phase does.
        dtype: Dtype of the weights. None takes that of the files.

    Raises:
        ValueError: If the folder holds a reward model, which has no head for words.
    """
    layout = layout_of(folder)
    if layout.endswith("reward"):
        raise ValueError(f"{folder} holds a reward model, which has no head for words, and not a language model.")
    load = load_llama if layout == "llama" else load_released
    return load(folder, attend, positions, dtype)
