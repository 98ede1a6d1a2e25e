"""The toy run's annotator and its rule-written replies. A set of rules, and no person: no real preference data comes
from here.

`SimulatedAnnotator` judges replies to questions that are written with their answers (``check``). `WrittenCandidates`
damages and rewords reference replies, so that a run of minutes has something to judge. Use neither on a real corpus:
pass an `Annotator` of your own (see add-an-annotator.md) and replies sampled from models.
"""

from internlm2_align.miniature.annotator import SimulatedAnnotator
from internlm2_align.miniature.candidates import WrittenCandidates

__all__ = ["SimulatedAnnotator", "WrittenCandidates"]
