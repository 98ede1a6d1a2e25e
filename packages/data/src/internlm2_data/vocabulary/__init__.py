"""A byte-level BPE vocabulary in the style of cl100k (report section 3.2.1), with the ChatML tokens of section 4."""

from internlm2_data.vocabulary.construction import construct_vocabulary
from internlm2_data.vocabulary.specials import SPECIAL_TOKENS
from internlm2_data.vocabulary.training import train_vocabulary

__all__ = ["SPECIAL_TOKENS", "construct_vocabulary", "train_vocabulary"]
