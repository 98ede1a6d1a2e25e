"""Enhancement data (report section 3.3.3): documents that resemble queries, and what was chosen as good, by ratio.

query sets ───────────┐
shards, so many       ├─► score: each document by the query that it answers best ─┐
documents together ───┘                                                           │
shares, bytes, most epochs ─► the best of each set until its share is full ◄──────┘
└─► documents with the set as their source, and the weights of the mixture
"""

from internlm2_data.retrieval.bm25 import Bm25
from internlm2_data.retrieval.embedding import EmbeddingRetriever
from internlm2_data.retrieval.mixture import Portion

__all__ = ["Bm25", "EmbeddingRetriever", "Portion"]
