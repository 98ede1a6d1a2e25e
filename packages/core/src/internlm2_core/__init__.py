"""InternLM2's model as a LightningModule: training, checkpoints, tokenizer and chat, generation, evaluation.

Names are imported when they are first used. A program that only loads a model or talks to it never imports Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internlm2_core.checkpoint.any_layout import load_model as load_model
    from internlm2_core.generation.local import LocalEngine as LocalEngine
    from internlm2_core.generation.sampling import Sampling as Sampling
    from internlm2_core.lm import LM as LM
    from internlm2_core.nn.language_model import LanguageModel as LanguageModel
    from internlm2_core.phases import Phase as Phase
    from internlm2_core.phases import Phases as Phases
    from internlm2_core.phases import PhaseSwitch as PhaseSwitch
    from internlm2_core.sizes import SIZES as SIZES
    from internlm2_core.sizes import ModelSize as ModelSize
    from internlm2_core.spikes import SpikeGuard as SpikeGuard
    from internlm2_core.text.tokenizer import load_tokenizer as load_tokenizer

HOMES = {
    "LM": "lm",
    "LanguageModel": "nn.language_model",
    "LocalEngine": "generation.local",
    "ModelSize": "sizes",
    "Phase": "phases",
    "PhaseSwitch": "phases",
    "Phases": "phases",
    "SIZES": "sizes",
    "Sampling": "generation.sampling",
    "SpikeGuard": "spikes",
    "load_model": "checkpoint.any_layout",
    "load_tokenizer": "text.tokenizer",
}
"""The module of each public name."""

__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
