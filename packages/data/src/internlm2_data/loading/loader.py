"""Loaders: a plan in the main process, stateless reading in workers."""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from internlm2_data.loading.document_rows import DocumentRows
from internlm2_data.loading.mixture import Place
from internlm2_data.loading.rows import RowSource, blank
from internlm2_data.tokens.manifests import check_same

Batch = dict[str, torch.Tensor]

GRACE_S = 30.0
"""Seconds that a reading process lives on after a signal."""


class Plan(Protocol):
    """Decides which rows come next. Everything that a resumed run must know is in its state.

    The state after the last batch of a pass is the beginning of the next one.
    """

    def __len__(self) -> int:
        """Rows of a pass."""

    @property
    def taken(self) -> int:
        """Rows taken since the beginning."""

    def take(self, count: int) -> list[Place]:
        """The next places. There are fewer at the end of a pass, and then once none."""

    def state_dict(self) -> dict[str, Any]:
        """Its position in JSON types."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at `state`."""


@dataclass(frozen=True)
class BatchRamp:
    """Batches that grow with the rows read so far: smaller ones learn as much early on (arXiv 2005.14165, 2.3).

    Attributes:
        first_rows: Rows of the first batches, over all ranks.
        step_rows: Rows by which batches grow.
        over_rows: Rows read until batches are full. Growth is spread evenly over them.
    """

    first_rows: int
    step_rows: int
    over_rows: int

    def rows_at(self, taken: int, full: int) -> int:
        """Rows of the batch that begins after `taken` rows, where full ones have `full`."""
        stages = -(-(full - self.first_rows) // self.step_rows)
        if taken >= self.over_rows or stages < 1:
            return full
        return self.first_rows + self.step_rows * (taken * stages // self.over_rows)


class Loader:
    """Iterates one rank's share of the global batches, and can save and restore its place.

    Each iteration goes to the end of the pass. The next one begins the next pass.

    Args:
        plan: The sequence of places. The loader owns it.
        sources: What `Place.source` counts.
        context: Tokens of a row.
        batch_rows: Rows of a global batch, over all ranks.
        dp_rank: This rank among those that share the data.
        dp_size: How many ranks share the data.
        num_workers: Reading processes. 0 reads in this one.
        pad_id: Token id of padding.
        ramp: How batches grow to `batch_rows`. If None, all are full.

    Attributes:
        sources: What `Place.source` counts.

    Raises:
        ValueError: If the rows of a batch cannot be shared out equally.
    """

    def __init__(
        self,
        plan: Plan,
        sources: Sequence[RowSource],
        context: int,
        batch_rows: int,
        dp_rank: int = 0,
        dp_size: int = 1,
        num_workers: int = 0,
        pad_id: int = 0,
        ramp: BatchRamp | None = None,
    ) -> None:
        sizes = {"batch_rows": batch_rows}
        if ramp is not None:
            sizes |= {"ramp.first_rows": ramp.first_rows, "ramp.step_rows": ramp.step_rows}
        for name, rows in sizes.items():
            if rows % dp_size or rows < 1:
                raise ValueError(
                    f"{name}={rows} must be a multiple of {dp_size}, the number of data-parallel ranks that share "
                    "a batch."
                )
        if not 0 <= dp_rank < dp_size:
            raise ValueError(f"dp_rank={dp_rank} must be below dp_size={dp_size}.")
        self._plan, self._state = plan, plan.state_dict()
        self.sources, self._manifests = sources, [list(source.manifest) for source in sources]
        self._rows = _Rows(sources, context, pad_id)
        self._share, self._num_workers = slice(dp_rank, None, dp_size), num_workers
        self.batch_rows, self._ramp = batch_rows, ramp

    def __len__(self) -> int:
        """Full global batches of a pass (Lightning reads unsized loaders one batch ahead of their state)."""
        return -(-len(self._plan) // self.batch_rows)

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the state to the end of the pass."""
        self._plan.load_state_dict(self._state)
        after: deque[dict[str, Any]] = deque()
        reader: DataLoader[Batch] = DataLoader(
            self._rows,
            batch_size=None,
            sampler=self._places(after),
            num_workers=self._num_workers,
            worker_init_fn=outlive_signals,
        )
        for batch in reader:
            # The plan runs ahead of the workers. The state that counts is that of the batch handed out.
            self._state = after.popleft()
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """What comes after the last batch handed out, and of which data, the same on every rank."""
        return deepcopy({**self._state, "data": self._manifests})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the batch at which `state` was taken, on any number of ranks and workers.

        Raises:
            ValueError: If the state is of other data, of another mixture or of another seed.
        """
        check_same(state["data"], self._manifests)
        self._plan.load_state_dict(state)
        self._state = self._plan.state_dict()

    def places(self, batches: int) -> Iterator[list[Place]]:
        """The rows of the next global batches, over as many passes as that takes. Nothing is read, and no place moves.

        Args:
            batches: How many batches.
        """
        self._plan.load_state_dict(self._state)
        for _ in range(batches):
            # A pass ends with an empty answer.
            yield self._plan.take(self._next_rows()) or self._plan.take(self._next_rows())

    def _places(self, after: deque[dict[str, Any]]) -> Iterator[list[Place]]:
        while places := self._plan.take(rows := self._next_rows()):
            padding = [Place(-1, 0)] * (rows - len(places))
            after.append(self._plan.state_dict())
            yield (places + padding)[self._share]

    def _next_rows(self) -> int:
        return self._ramp.rows_at(self._plan.taken, self.batch_rows) if self._ramp else self.batch_rows


def outlive_signals(worker: int) -> None:
    """Let a reading process outlive the signals that a scheduler, or Ctrl-C, sends to every process of a run.

    The run finishes its step, saves and leaves, and may need a batch for it. A reader that is killed would end it.
    After Ctrl-C a step may take any time, and torch ends the readers of a run that is gone.

    Args:
        worker: Number of the process.
    """

    def leave_later(*_: Any) -> None:
        threading.Timer(GRACE_S, os._exit, (0,)).start()

    for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(name, leave_later)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Rows(Dataset[Batch]):
    """Reads the rows that it is told and holds no position."""

    def __init__(self, sources: Sequence[RowSource], context: int, pad_id: int) -> None:
        self.sources, self.context, self.pad_id = sources, context, pad_id
        rows = [(number, source) for number, source in enumerate(sources) if isinstance(source, DocumentRows)]
        self.in_store = [(number, source) for number, source in rows if source.is_in_store]

    def __getitem__(self, places: list[Place]) -> Batch:
        for number, source in self.in_store:
            source.fetch([place.row for place in places if place.source == number])
        rows = [
            blank(self.context, self.pad_id) if place.source < 0 else self.sources[place.source].row(place.row)
            for place in places
        ]
        names = ("input_ids", "labels", "position_ids")
        return {name: torch.from_numpy(np.stack([row[field] for row in rows])) for field, name in enumerate(names)}
