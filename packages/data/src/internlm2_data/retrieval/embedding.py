"""Retrieval by embeddings."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Embedder(Protocol):
    """Makes vectors of texts. Its public attributes say which vectors."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Float32 [texts, width]."""


class EmbeddingRetriever:
    """Cosines with the nearest query, those below 0 counted as 0.

    Args:
        embedder: Makes the vectors.
        batch_texts: Texts embedded at once.
    """

    def __init__(self, embedder: Embedder, batch_texts: int = 64) -> None:
        self.embedder, self._batch_texts = embedder, batch_texts

    def scores(self, texts: Sequence[str], queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `Retriever`."""
        wanted = self._units(queries).T
        batches = [texts[i : i + self._batch_texts] for i in range(0, len(texts), self._batch_texts)]
        best = [(self._units(batch) @ wanted).max(axis=1, initial=0.0) for batch in batches]
        return np.concatenate([np.empty(0, np.float32), *best]).astype(np.float32)

    def _units(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        vectors = np.asarray(self.embedder.embed(texts), np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
