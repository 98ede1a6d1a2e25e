"""Preference pairs from instruction records and an annotator.

instruction record --candidates--> replies --Annotator--> scores by domain --pairs--> Preference records

An `Annotator` is whoever judges: people behind a form, a model, or the rules of `internlm2_align.miniature`.
"""

from internlm2_align.labelling.annotator import Annotator

__all__ = ["Annotator"]
