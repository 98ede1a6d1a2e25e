"""What PPO asks in its iterations: batches of prompts that resume exactly."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from internlm2_core.batch import Batch

from internlm2_align.ppo.mixture import Mixture
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.ppo.texts import TextRows


class Query:
    """What one iteration works on: prompts, and pre-training rows to keep the actor what it was.

    Not a dataclass: Lightning would look for tensors in it to cast, and refuses frozen ones.

    Args:
        prompts: This rank's prompts.
        texts: This rank's pre-training rows, or None where there are none.
    """

    def __init__(self, prompts: Sequence[Prompt], texts: TextRows | None = None) -> None:
        self.prompts, self.texts = prompts, texts


class QueryLoader:
    """One query for each iteration. The order of prompts is a function of the seed, so the state is a number.

    Args:
        prompts: All prompts. They are read in a new order as often as needed.
        queries: Prompts of an iteration over all ranks.
        iterations: Iterations in all.
        seed: Of the order.
        pretrain: This rank's loader of pre-training batches, read as often as needed.
        dp_rank: This data-parallel rank.
        dp_size: Number of data-parallel ranks.
        weights: Share of each domain in every iteration, in any unit. None asks every prompt equally often.

    Raises:
        ValueError: If the queries cannot be spread evenly, or weights do not fit the domains.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        queries: int,
        iterations: int,
        seed: int = 1,
        pretrain: Iterable[Batch] | None = None,
        dp_rank: int = 0,
        dp_size: int = 1,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        if queries < 1 or queries % dp_size:
            raise ValueError(f"{queries} queries cannot be spread over {dp_size} ranks: queries must be a multiple.")
        self.prompts, self.queries, self.iterations, self.seed = prompts, queries, iterations, seed
        self.texts = None if pretrain is None else TextRows(pretrain)
        self.dp_rank, self.dp_size = dp_rank, dp_size
        self.mixture = Mixture(prompts, weights, queries, seed)
        self.iteration = 0

    def __len__(self) -> int:
        """Iterations in all, those already done included: that is how Lightning counts a resumed pass."""
        return self.iterations

    def __iter__(self) -> Iterator[Query]:
        """The iterations that are left."""
        for number in range(self.iteration, self.iterations):
            # Before the query is given: a state taken while it is worked on says what comes after it.
            self.iteration = number + 1
            yield Query(self.of_iteration(number), self.texts)

    def of_iteration(self, number: int) -> list[Prompt]:
        """This rank's prompts of an iteration."""
        return self.mixture.of_iteration(number)[self.dp_rank :: self.dp_size]

    def state_dict(self) -> dict[str, Any]:
        """Iterations given, the pre-training rows that each rank has taken, and how many ranks they were."""
        texts = {} if self.texts is None else {"pretrain": self.texts.state_dict(), "ranks": self.dp_size}
        return {"iteration": self.iteration, **texts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken, on any number of ranks.

        Where the rows that all have taken do not divide by the ranks, the last few are read once more.
        """
        self.iteration = state["iteration"]
        if "pretrain" in state and self.texts is not None:
            texts = state["pretrain"]
            self.texts.load_state_dict({**texts, "rows": texts["rows"] * state["ranks"] // self.dp_size})


class HeldOutQueries:
    """Held-out prompts in order, for validation. Each rank has as many batches as the others, none of them empty.

    Args:
        prompts: All held-out prompts.
        queries: Prompts of a batch, about.
        dp_rank: This data-parallel rank.
        dp_size: Number of data-parallel ranks.

    Raises:
        ValueError: If there are fewer prompts than ranks.
    """

    def __init__(self, prompts: Sequence[Prompt], queries: int, dp_rank: int = 0, dp_size: int = 1) -> None:
        if (count := len(prompts)) < dp_size:
            raise ValueError(f"{count} held-out prompts cannot be spread over {dp_size} ranks: each needs one or more.")
        self.prompts = prompts[dp_rank::dp_size]
        # Of the rank with the most prompts, but at most those of the rank with the fewest.
        self.batches = min(-(-count // (dp_size * queries)), count // dp_size)

    def __len__(self) -> int:
        """Batches."""
        return self.batches

    def __iter__(self) -> Iterator[Query]:
        """All batches."""
        ends = [number * len(self.prompts) // self.batches for number in range(self.batches + 1)]
        for start, end in pairwise(ends):
            yield Query(self.prompts[start:end])
