"""Which evaluation items are in the training stream of a run, and at which step each was given.

    items ──► fields (question, answer) ──► index of n-grams ─┐
    token files, conversations ──► texts of documents ────────┴─► matches ──► rows ──► steps

An n-gram is `n` neighbouring words, or characters of a script without spaces. Case, punctuation, white space and widths
of characters do not count. Words and index are those of decontamination (`internlm2_data.word_index`).

    items.py     items with question and answer apart
    matching.py  n-grams of items in a document
    stream.py    what a run was given: documents, and the steps of their parts
    job.py       the job `internlm2 contamination`

What is unusual: nothing of the training is repeated. A document is read once, however often the run saw it, and the
plan of the loader says when that was.
"""

from internlm2_data.contamination.job import find_contamination

__all__ = ["find_contamination"]
