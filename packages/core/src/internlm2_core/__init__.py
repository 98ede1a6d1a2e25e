"""InternLM2's model as a LightningModule: training, checkpoints, tokenizer and chat, generation, evaluation."""

from internlm2_core.lm import LM
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.phases import Phase, Phases, PhaseSwitch
from internlm2_core.sizes import SIZES, ModelSize
from internlm2_core.spikes import SpikeGuard

__all__ = ["LM", "SIZES", "LanguageModel", "ModelSize", "Phase", "PhaseSwitch", "Phases", "SpikeGuard"]
