"""The kinds of written documents. A kind's name is the `source` of its documents, so that each can have a weight.

Pairs come first in training: what a name is followed by can be learnt in texts of twenty tokens within minutes, and
in longer ones only once it is known.
"""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from internlm2_data.miniature.written.hay import Hay
from internlm2_data.miniature.written.instructions.words import Language
from internlm2_data.miniature.written.repeats import draw_repeats
from internlm2_data.miniature.written.restated import Restated, Returning
from internlm2_data.miniature.written.sums import draw_sums

Draw = Callable[[Random, Language, Hay], str]


def either(*draws: Draw) -> Draw:
    """Documents of several draws, as many of each."""
    return lambda rng, language, hay: rng.choice(draws)(rng, language, hay)


KINDS: Mapping[str, Draw] = MappingProxyType(
    {
        "pairs": Restated(people=(2, 4), sentences=(4, 14), text_share=0.0).draw,
        "lists": Restated(people=(4, 16), sentences=(12, 48), text_share=0.0).draw,
        "needles": Restated(people=(2, 8), sentences=(12, 24), text_share=0.4).draw,
        # Much longer than a row, so that most rows hold one document throughout and its far returns.
        "far-needles": either(
            Restated(people=(8, 16), sentences=(240, 360), text_share=0.6).draw,
            Returning(people=(4, 10), stretch=(24, 44)).draw,
        ),
        "repeats": draw_repeats,
        "sums": draw_sums,
    }
)
