"""BM25, by bm25s. Needs the extra `retrieval`."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

# A character of a script without spaces, or a run of letters and digits.
_TERM = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_SIGN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


class Retriever(Protocol):
    """Says how well documents answer queries. Its public attributes decide what it says."""

    def scores(self, texts: Sequence[str], queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """For each text the score of the query that it answers best, in [0, 1], float32 [texts]."""


class Bm25:
    """BM25 scores as a share of the greatest that the query could give, so that long and short queries compare.

    Words are runs of letters and digits in lower case, and pairs of neighbouring characters of scripts without spaces.

    Args:
        k1: How soon more occurrences of a word count no more.
        b: How much long documents are held back.
    """

    def __init__(self, k1: float = 1.5, b: float = 0.75) -> None:
        self.k1, self.b = k1, b

    def scores(self, texts: Sequence[str], queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `Retriever`."""
        import bm25s

        best = np.zeros(len(texts), np.float32)
        asked = [sorted(set(terms(query))) for query in queries]
        # What no query asks for counts for the length of a document alone.
        numbers = {term: number for number, term in enumerate(sorted({term for query in asked for term in query}), 1)}
        ids = [[numbers.get(term, 0) for term in terms(text)] for text in texts]
        index = bm25s.BM25(k1=self.k1, b=self.b, method="lucene")
        index.index((ids, {"": 0, **numbers}), create_empty_token=False, show_progress=False)
        frequency = Counter(number for document in ids for number in set(document))
        for query in asked:
            known = [numbers[term] for term in query]
            most = sum(np.log1p((len(texts) - frequency[n] + 0.5) / (frequency[n] + 0.5)) for n in known)
            present = [number for number in known if frequency[number]]
            if present:
                np.maximum(best, index.get_scores_from_ids(present) / most, out=best)
        return best


def terms(text: str) -> Iterator[str]:
    """The words of a text. See `Bm25`."""
    for match in _TERM.finditer(text.lower()):
        run = match.group()
        if len(run) > 1 and _SIGN.match(run):
            yield from (run[i : i + 2] for i in range(len(run) - 1))
        else:
            yield run
