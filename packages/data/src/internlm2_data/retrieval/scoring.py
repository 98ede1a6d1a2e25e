"""Scores of documents, so many at a time, on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from internlm2_data.document import Document
from internlm2_data.io.documents import documents_of
from internlm2_data.retrieval.bm25 import Retriever
from internlm2_data.stages.manifest import write_json
from internlm2_data.stages.run import Shard


@dataclass(frozen=True)
class ScoreTask:
    """Scoring the documents of some shards, which make one collection: word frequencies are those of all of them."""

    shards: tuple[Shard, ...]
    retriever: Retriever
    queries: Mapping[str, Sequence[str]]
    output: Path
    made_by: str

    @property
    def manifest(self) -> Path:
        """Where it is written that this was done."""
        return self.output.with_suffix(".json")


def score_task(task: ScoreTask) -> None:
    """Score a collection. The manifest is written last."""
    counts: list[int] = []
    documents: list[Document] = []
    for shard in task.shards:
        before = len(documents)
        documents += documents_of(shard.files)
        counts.append(len(documents) - before)
    texts = [document.text for document in documents]
    scores = np.zeros((len(texts), len(task.queries)), np.float32)
    for column, queries in enumerate(task.queries.values()):
        if queries and texts:
            scores[:, column] = task.retriever.scores(texts, queries)
    sizes = np.array([document.num_bytes for document in documents], np.int64)
    part = task.output.with_name(task.output.name + ".part.npz")
    part.parent.mkdir(parents=True, exist_ok=True)
    np.savez(part, scores=scores, sizes=sizes, counts=np.array(counts, np.int64))
    part.replace(task.output)
    write_json(task.manifest, {"made_by": task.made_by, "documents": len(documents)})


@dataclass(frozen=True)
class Scores:
    """Scores of all documents of a run.

    Attributes:
        scores: Float32 [documents, portions].
        sizes: Bytes of each document.
        counts: Documents of each shard.
    """

    scores: npt.NDArray[np.float32]
    sizes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def load(cls, paths: Sequence[Path]) -> "Scores":
        """Join what tasks wrote, in order."""
        files = [np.load(path, allow_pickle=False) for path in paths]
        return cls(*(np.concatenate([file[name] for file in files]) for name in ("scores", "sizes", "counts")))
