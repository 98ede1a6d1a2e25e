"""InternLM2's model as a LightningModule, with its checkpoints, tokenizer and chat format, generation and evaluation."""

from internlm2_core.lm import LM
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import SIZES, ModelSize

__all__ = ["LM", "SIZES", "LanguageModel", "ModelSize"]
