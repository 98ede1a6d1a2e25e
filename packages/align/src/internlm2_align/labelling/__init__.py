"""Preference labels from a rule-based annotator. It is simulated, and named so everywhere: no person has judged here.

instruction record --candidates--> replies (reference, rule-written, sampled) --SimulatedAnnotator--> scores
                                                                              --pairs--> Preference records
"""

from internlm2_align.labelling.annotator import SimulatedAnnotator

__all__ = ["SimulatedAnnotator"]
