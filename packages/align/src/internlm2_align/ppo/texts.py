"""Pre-training rows by the token: what keeps the actor what it was, in proportion to what it samples.

The report adds about half as much pre-training data as is sampled (section 4.2.3). How much is sampled is known only
after sampling, so rows are taken then, and what is left of a batch is the beginning of the next share.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any, Protocol, cast, runtime_checkable

import torch
from internlm2_core.batch import Batch
from torch import Tensor


@runtime_checkable
class Stateful(Protocol):
    """A loader that can say where it is."""

    def state_dict(self) -> dict[str, Any]:
        """What comes after the last batch that was given."""

    def load_state_dict(self, state: Any) -> None:
        """Continue there.

        Args:
            state: From `state_dict`.
        """


class TextRows:
    """Rows of one rank's pre-training batches, read as often as needed.

    Args:
        loader: Batches of this rank. One that cannot say where it is is read again up to there when a run resumes.
    """

    def __init__(self, loader: Iterable[Batch]) -> None:
        self.loader = loader
        self._stream = self._endless()
        self._rows: dict[str, Tensor] = {}
        self._before: Any = None
        self._batches = self._used = 0

    def take(self, tokens: float | None) -> Batch:
        """The next rows.

        Args:
            tokens: About how many tokens. Rows are whole, and one is given at least. None gives the next whole batch.

        Raises:
            ValueError: If the loader gives no batch.
        """
        if tokens is None:
            self._fetch()
            return self._give(self._left)
        if not self._left:
            self._fetch()
        wanted = max(1, round(tokens / self._rows["input_ids"].shape[1]))
        parts = [self._give(min(wanted, self._left))]
        while wanted := wanted - len(parts[-1]["input_ids"]):
            self._fetch()
            parts.append(self._give(min(wanted, self._left)))
        named = cast(list[dict[str, Tensor]], parts)
        return cast(Batch, {name: torch.cat([part[name] for part in named]) for name in named[0]})

    def state_dict(self) -> dict[str, Any]:
        """Where the batch in hand begins, and how many of its rows were taken."""
        return {"loader": self._before, "batches": self._batches, "rows": self._used}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken."""
        if not state["batches"]:
            return
        if isinstance(self.loader, Stateful) and state["loader"] is not None:
            self.loader.load_state_dict(state["loader"])
            self._batches = state["batches"] - 1
        else:
            for _ in range(state["batches"] - 1):
                self._fetch()
        self._fetch()
        self._used = state["rows"]

    @property
    def _left(self) -> int:
        return len(self._rows["input_ids"]) - self._used if self._rows else 0

    def _give(self, count: int) -> Batch:
        self._used += count
        rows = {name: value[self._used - count : self._used] for name, value in self._rows.items()}
        return cast(Batch, rows)

    def _fetch(self) -> None:
        if isinstance(self.loader, Stateful):
            self._before = deepcopy(self.loader.state_dict())
        batch = next(self._stream)
        self._rows = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        self._batches, self._used = self._batches + 1, 0

    def _endless(self) -> Iterator[Batch]:
        passes = 0
        # The rest of a resumed pass may be empty, the pass after it may not.
        while passes < 2:
            passes += 1
            for batch in self.loader:
                passes = 0
                yield batch
        raise ValueError("The pre-training data give no batch. pretrain=null does without.")
