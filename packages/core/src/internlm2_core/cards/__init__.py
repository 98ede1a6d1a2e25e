"""The card of a model folder: what it is, what it was trained with, what was measured. Nothing else.

    model folder ─── config, tokenizer ──────┐
    run ──────────── settings.json ──────────┼──► README.md with a YAML head (`ModelCardData` of huggingface_hub)
    evaluations ──── metrics.json ───────────┤
    `About` ──────── licence, languages, ... ┘

What is not known is left out of the card, and named in its last section.
"""

from internlm2_core.cards.about import About
from internlm2_core.cards.measured import measured
from internlm2_core.cards.model import write_model_card

__all__ = ["About", "measured", "write_model_card"]
