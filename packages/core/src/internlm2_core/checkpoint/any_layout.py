"""Open a model folder of whichever layout."""

from pathlib import Path

from torch import nn

from internlm2_core.checkpoint.folder import read_json
from internlm2_core.checkpoint.llama import load_llama
from internlm2_core.checkpoint.released import load_released
from internlm2_core.nn.language_model import LanguageModel


def layout_of(folder: str | Path) -> str:
    """``released``, ``llama``, ``reward`` (released layout) or ``llama-reward`` (sequence classifier), by config.json.

    Raises:
        FileNotFoundError: no config.json.
        ValueError: a model of another family.
    """
    config = read_json(Path(folder) / "config.json")
    family, [architecture] = config.get("model_type"), config.get("architectures") or [""]
    if family == "internlm2":
        return "reward" if "Reward" in architecture else "released"
    if family == "llama":
        return "llama-reward" if "SequenceClassification" in architecture else "llama"
    raise ValueError(f"{folder} holds a model of type {family!r}; internlm2 and llama are read.")


def load_model(folder: str | Path, attend: nn.Module | None = None) -> LanguageModel:
    """A language model from a folder of released or Llama layout.

    Raises:
        ValueError: a reward model, which has no head for words.
    """
    layout = layout_of(folder)
    if layout.endswith("reward"):
        raise ValueError(f"{folder} is a reward model; set checkpoint= to a language model.")
    return load_llama(folder) if layout == "llama" else load_released(folder, attend)
