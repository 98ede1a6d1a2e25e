"""Decontamination (report section 3.3.3): training text without the items of evaluation sets.

    evaluation files ─► items ─► parts: question, answer, both ─► index of 4-grams on disk
                                                                         │
    document ─► words ─► 4-grams  that the index knows ─► aligned both ways ─► share of a part that it holds

What is unusual: a shared 4-gram is only where an alignment begins. The alignment steps over edited, inserted and
deleted words, and a word weighs the more the fewer items have it. So one edited word does not hide an item, and the
phrases that all items of a set share do not make a clean page look like one of them.
"""

from internlm2_data.decontamination.items import ItemFields
from internlm2_data.decontamination.settings import MatchSettings
from internlm2_data.decontamination.sieve import DecontaminationSieve

__all__ = ["DecontaminationSieve", "ItemFields", "MatchSettings"]
