"""What PPO asks: prompts with the domain that their replies are scored by, in batches that resume exactly."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from internlm2_core.batch import Batch
from internlm2_core.text.chat import ChatFormat
from internlm2_records import Message, read_objects

from internlm2_align.ppo.texts import TextRows


@dataclass(frozen=True)
class Prompt:
    """One query.

    Attributes:
        messages: The conversation before the reply.
        ids: The same as token ids, an assistant turn opened at the end.
        domain: Names the condition prompt that the reward model scores the reply by.
        language: Of the condition prompt.
        record: The instruction record that it came from, if any. A judge may want it.
    """

    messages: tuple[Message, ...]
    ids: tuple[int, ...]
    domain: str
    language: str = "en"
    record: Mapping[str, Any] = field(default_factory=dict)


def read_prompts(
    path: str | Path, chat: ChatFormat, domains: Mapping[str, str], max_prompt_tokens: int
) -> tuple[list[Prompt], dict[str, int]]:
    """Prompts of instruction records: all turns before the last, which is the reference reply.

    Args:
        path: JSON lines with ``messages``, ``task`` and ``language``.
        chat: Encodes them.
        domains: Domain by task. Records of other tasks are left out.
        max_prompt_tokens: Longer prompts are left out.

    Returns:
        Prompts and counts ``used``, ``other_task``, ``too_long``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If nothing is left, or a record ends in another turn.
    """
    counts = {"used": 0, "other_task": 0, "too_long": 0}
    prompts = []
    for number, record in enumerate(read_objects(path, ("messages",)), 1):
        if record.get("task") not in domains:
            counts["other_task"] += 1
            continue
        *messages, reference = record["messages"]
        if reference["role"] != "assistant":
            raise ValueError(
                f"Record {number} of {path} ends in a turn of {reference['role']!r}. Add the reference reply, an "
                "assistant turn, which is not asked."
            )
        ids = tuple(chat.prompt(messages))
        if len(ids) > max_prompt_tokens:
            counts["too_long"] += 1
            continue
        counts["used"] += 1
        domain, language = domains[record["task"]], record.get("language", "en")
        prompts.append(Prompt(tuple(messages), ids, domain, language, record))
    if not prompts:
        raise ValueError(
            f"{path} gives no prompt ({counts}). domains={dict(domains)} and "
            f"max_prompt_tokens={max_prompt_tokens} leave all of it out."
        )
    return prompts, counts


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

    Raises:
        ValueError: If the queries cannot be spread evenly.
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
    ) -> None:
        if queries < 1 or queries % dp_size:
            raise ValueError(f"{queries} queries cannot be spread over {dp_size} ranks: queries must be a multiple.")
        self.prompts, self.queries, self.iterations, self.seed = prompts, queries, iterations, seed
        self.texts = None if pretrain is None else TextRows(pretrain)
        self.dp_rank, self.dp_size = dp_rank, dp_size
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
        places = range(number * self.queries, (number + 1) * self.queries)[self.dp_rank :: self.dp_size]
        return [self.prompts[self._order(place // len(self.prompts))[place % len(self.prompts)]] for place in places]

    def state_dict(self) -> dict[str, Any]:
        """Iterations given, and the pre-training rows taken."""
        texts = {} if self.texts is None else {"pretrain": self.texts.state_dict()}
        return {"iteration": self.iteration, **texts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken."""
        self.iteration = state["iteration"]
        if "pretrain" in state and self.texts is not None:
            self.texts.load_state_dict(state["pretrain"])

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.prompts), generator=generator).tolist()


@dataclass(frozen=True)
class HeldOutQueries:
    """Held-out prompts in order, for validation.

    Attributes:
        prompts: All of this rank's prompts.
        queries: Prompts of a batch.
    """

    prompts: Sequence[Prompt]
    queries: int

    def __len__(self) -> int:
        """Batches."""
        return -(-len(self.prompts) // self.queries)

    def __iter__(self) -> Iterator[Query]:
        """All batches."""
        for start in range(0, len(self.prompts), self.queries):
            yield Query(self.prompts[start : start + self.queries])
