"""What an iteration sampled and learned from, as a Parquet file with a row for each reply.

    query, domain, language     of the prompt, query counted over all ranks
    prompt                      its messages, as JSON
    prompt_ids, reply_ids       token ids. The end of turn is one of the reply's
    reply                       text
    finished, score             whether it ended by itself, and the score with penalties
    logprobs, reference_logprobs, entropies, values, advantages, returns    a number for each token of the reply
    engine_logprobs             what the engine said of each token, or nothing
    computed                    whether the log-probabilities are the trainer's own

The file's metadata hold, as JSON under ``internlm2``: the schema, the iteration, the settings of the run, the
temperature and the iteration's figures.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from internlm2_core.shares import share_of
from torch import Tensor

from internlm2_align.ppo.prompts import Query
from internlm2_align.ppo.responses import Responses
from internlm2_align.ppo.rollout import Rollout
from internlm2_align.ppo.sampling import Scored
from internlm2_align.ppo.system import PPOSystem

SCHEMA = "internlm2/align/rollout/1"
PER_TOKEN = ("logprobs", "reference_logprobs", "entropies", "values", "advantages", "returns")
IDS, NUMBERS = pa.list_(pa.int32()), pa.list_(pa.float32())
COLUMNS = pa.schema(
    [
        ("query", pa.int32()), ("domain", pa.string()), ("language", pa.string()), ("prompt", pa.string()),
        ("prompt_ids", IDS), ("reply_ids", IDS), ("reply", pa.string()), ("finished", pa.bool_()),
        ("score", pa.float32()), ("computed", pa.bool_()), *((name, NUMBERS) for name in PER_TOKEN),
        ("engine_logprobs", NUMBERS),
    ]
)  # fmt: skip


class SaveRollouts(L.Callback):
    """Writes iterations to ``FOLDER/iteration-N.parquet``, each data rank its own where there are several.

    Args:
        folder: Where.
        every: Iterations from one that is written to the next. The first is written.

    Raises:
        ValueError: If ``every`` is below 1.
    """

    def __init__(self, folder: str | Path, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every={every} must be 1 or more.")
        self.folder, self.every = Path(folder), every

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if it is time."""
        assert isinstance(pl_module, PPOSystem) and pl_module.latest is not None
        number = pl_module.iteration
        if (number - 1) % self.every:
            return
        share = share_of(trainer)
        about = {"iteration": number, "seed": pl_module.seed, "settings": asdict(pl_module.settings)}
        about |= {"temperature": pl_module.latest[1].temperature, "figures": pl_module.history[-1]}
        if is_first_of_share(trainer):
            write_rollout(file_of(self.folder, number, **share), *pl_module.latest, about, **share)


def is_first_of_share(trainer: L.Trainer) -> bool:
    """Whether no rank before this one reads the same rows."""
    share = share_of(trainer)
    return trainer.global_rank % max(1, trainer.world_size // share["num_replicas"]) == 0


def file_of(folder: Path, iteration: int, rank: int = 0, num_replicas: int = 1) -> Path:
    """Where the replies of an iteration are.

    Args:
        folder: Of the rollouts.
        iteration: Counted from 1.
        rank: Data rank.
        num_replicas: Data ranks.
    """
    return folder / (f"iteration-{iteration}" + (f".rank-{rank}" if num_replicas > 1 else "") + ".parquet")


def write_rollout(
    file: Path,
    query: Query,
    scored: Scored,
    rollout: Rollout,
    about: Mapping[str, Any],
    rank: int = 0,
    num_replicas: int = 1,
) -> None:
    """Write the replies of one data rank, beside the target first.

    Args:
        file: The target. An older one is replaced.
        query: What was asked.
        scored: What was sampled.
        rollout: What was learned from.
        about: Kept in the file's metadata.
        rank: Data rank.
        num_replicas: Data ranks.
    """
    lengths = rollout.mask.sum(1).tolist()
    columns: dict[str, Any] = {
        "query": [rank + num_replicas * row for row in range(len(lengths))],
        "domain": [prompt.domain for prompt in query.prompts],
        "language": [prompt.language for prompt in query.prompts],
        "prompt": [json.dumps(prompt.messages, ensure_ascii=False) for prompt in query.prompts],
        "prompt_ids": list(map(list, rollout.responses.prompts)),
        "reply_ids": list(map(list, rollout.responses.responses)),
        "reply": [_writable(text) for text in scored.texts],
        "finished": rollout.finished.tolist(),
        "score": rollout.scores.tolist(),
        "computed": rollout.computed.tolist(),
        "engine_logprobs": scored.engine_logprobs if all(scored.engine_logprobs) else [None] * len(lengths),
    }
    for name in PER_TOKEN:
        numbers = getattr(rollout, name).float().cpu().tolist()
        columns[name] = [row[:length] for row, length in zip(numbers, lengths, strict=True)]
    said = json.dumps({"schema": SCHEMA, **about}, ensure_ascii=False)
    table = pa.table(columns, schema=COLUMNS.with_metadata({"internlm2": said}))
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    pq.write_table(table, draft, compression="zstd")
    with draft.open("rb") as written:
        os.fsync(written.fileno())
    draft.replace(file)


def _writable(text: str) -> str:
    """Half of a character cannot be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True)
class Stored:
    """The replies of all ranks of an iteration.

    Attributes:
        rows: One for each reply, in the order of the queries.
        about: The metadata. Figures are those of all ranks.
    """

    rows: Sequence[Mapping[str, Any]]
    about: Mapping[str, Any]

    @property
    def responses(self) -> Responses:
        """The token ids."""
        return Responses([row["prompt_ids"] for row in self.rows], [row["reply_ids"] for row in self.rows])

    def padded(self, name: str) -> Tensor:
        """A column of numbers for each token, [B, R] float32 with zeros on the right."""
        return self.responses.spread(torch.tensor([value for row in self.rows for value in row[name]]))

    @property
    def scores(self) -> Tensor:
        """[B] float32, penalties included."""
        return torch.tensor([row["score"] for row in self.rows])


def read_rollout(folder: str | Path, iteration: int) -> Stored:
    """The replies of an iteration, of all ranks.

    Args:
        folder: Of the rollouts.
        iteration: Counted from 1.

    Raises:
        FileNotFoundError: If the iteration was not written.
        ValueError: If a file is not a rollout.
    """
    folder = Path(folder)
    files = sorted([file_of(folder, iteration), *folder.glob(f"iteration-{iteration}.rank-*.parquet")])
    if not (files := [file for file in files if file.is_file()]):
        numbers = sorted({int(file.name.split("-")[1].split(".")[0]) for file in folder.glob("iteration-*.parquet")})
        there = f"There are those of {numbers[0]} to {numbers[-1]}" if numbers else "There are none"
        raise FileNotFoundError(
            f"{folder} has no rollout of iteration={iteration}. {there}. Callback SaveRollouts writes them."
        )
    rows: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    for file in files:
        table = pq.read_table(file)
        said = json.loads((table.schema.metadata or {}).get(b"internlm2", b"{}"))
        if said.get("schema") != SCHEMA:
            raise ValueError(f"{file} is not a rollout: schema={said.get('schema')} must be {SCHEMA}.")
        rows, about = rows + table.to_pylist(), said
    return Stored(sorted(rows, key=lambda row: row["query"]), about)
