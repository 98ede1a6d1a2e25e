"""Batches of preference pairs: encoded once, packed padding-free, resumable in the middle of an epoch."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from internlm2_align.budget import plan_batches
from internlm2_align.preferences.preference import OnBad, Preference
from internlm2_align.reward.conditions import UnknownDomainError, index_of
from internlm2_align.reward.encoded import EncodedPair, EncodedPairs
from internlm2_align.reward.encoding import ConversationEncoder, TooLongError
from internlm2_align.reward.shared import Group, PackedGroups, pack_groups


class PairRow(NamedTuple):
    """Pairs that are computed together. P pairs.

    Attributes:
        packed: The row. Replies come chosen, rejected, chosen, rejected, ...
        domain_index: [P] int64, place of the domain in the condition table.
        margin: [P] float32, difference wanted between the scores.
    """

    packed: PackedGroups
    domain_index: Tensor
    margin: Tensor


PairBatch = tuple[PairRow, ...]
"""Pairs of one optimizer step on one rank, in rows that are computed one after the other."""


def usable_pairs(
    pairs: Iterable[Preference], encoder: ConversationEncoder, counts: Counter[str], on_bad: OnBad = "skip"
) -> Iterator[tuple[Preference, Group]]:
    """Pairs that can be used, with their ids.

    Args:
        pairs: Any pairs.
        encoder: Holds the condition table and the length limit.
        counts: Gets one for each pair: ``used``, ``identical``, ``empty_reply``, ``empty_prompt`` or ``too_long``.
        on_bad: Whether an unusable pair is skipped or refused.

    Raises:
        ValueError: If a pair is of an unknown domain, or cannot be used and ``on_bad`` is ``raise``.
    """
    for pair in pairs:
        reason = defect = pair.defect()
        try:
            group = Group([], []) if defect else encoder.pair(pair)
        except UnknownDomainError as error:
            raise ValueError(f"{pair.place}: {error}") from error
        except TooLongError as error:
            defect, reason = "too_long", str(error)
        counts[defect or "used"] += 1
        if defect and on_bad == "raise":
            raise ValueError(f"{pair.place} cannot be used: {reason}. on_bad=skip counts such pairs.")
        if not defect:
            yield pair, group


def encode_pairs(
    pairs: Iterable[Preference],
    encoder: ConversationEncoder,
    counts: Counter[str],
    *,
    on_bad: OnBad = "skip",
    share_prompts: bool = True,
    folder: Path | None = None,
) -> EncodedPairs:
    """Encode what can be used and count the rest.

    Args:
        pairs: Any pairs.
        encoder: As for `usable_pairs`.
        counts: As for `usable_pairs`.
        on_bad: As for `usable_pairs`.
        share_prompts: Whether a row will store the prompt once (see `shared`). It decides the tokens of a pair.
        folder: Gets the ids. None keeps them in memory.

    Raises:
        ValueError: If `usable_pairs` refuses a pair.
    """
    found = usable_pairs(pairs, encoder, counts, on_bad)
    items = ((group, index_of(encoder.conditions, pair.domain), pair.margin) for pair, group in found)
    return EncodedPairs.of(items, encoder.tokenizer.vocab_size, share_prompts, folder)


@dataclass(frozen=True)
class PairBatches:
    """How pairs become batches.

    Attributes:
        budget_tokens: Most tokens of a batch on each rank. 16,384 in the report.
        seed: Of the order.
        share_prompts: Compute the prompt of a pair once.
        row_tokens: Most tokens computed at once. 0 computes a batch as one row. On CPU, rows that fit its caches are
            faster (tests/benchmarks/align/bench_reward.py). The loss does not depend on it.

    Raises:
        ValueError: If a number is negative or the budget 0.
    """

    budget_tokens: int = 16_384
    seed: int = 1
    share_prompts: bool = True
    row_tokens: int = 0

    def __post_init__(self) -> None:
        if self.budget_tokens < 1 or self.row_tokens < 0:
            raise ValueError(
                f"budget_tokens={self.budget_tokens} must be 1 or more and row_tokens={self.row_tokens} 0 or more."
            )

    def loader(self, pairs: EncodedPairs, *, dp_rank: int = 0, dp_size: int = 1, shuffle: bool = True) -> "PairLoader":
        """A loader for one data-parallel rank."""
        return PairLoader(self, pairs, dp_rank, dp_size, shuffle)


class PairLoader:
    """Epochs of batches. Each epoch is planned anew from the seed and the epoch's number, so the state is two numbers.

    Every rank gets the same number of batches: in an epoch that the ranks do not divide, the last batches are split.

    Args:
        recipe: Budget and seed.
        pairs: Encoded pairs.
        dp_rank: This data-parallel rank.
        dp_size: Number of data-parallel ranks.
        shuffle: Whether to shuffle. Validation does not.

    Raises:
        ValueError: If there are fewer pairs than ranks.
    """

    def __init__(self, recipe: PairBatches, pairs: EncodedPairs, dp_rank: int, dp_size: int, shuffle: bool) -> None:
        if len(pairs) < dp_size:
            raise ValueError(
                f"{len(pairs)} usable pairs of preferences cannot be spread over {dp_size} rank(s): each needs one."
            )
        self.recipe, self.pairs, self.shuffle = recipe, pairs, shuffle
        self.dp_rank, self.dp_size = dp_rank, dp_size
        self.epoch = self.batch = 0
        self._planned: tuple[int, list[list[int]]] = (-1, [])

    def __len__(self) -> int:
        """Batches of this rank in the current epoch."""
        return len(self.plan()) // self.dp_size

    def __iter__(self) -> Iterator[PairBatch]:
        """The rest of the current epoch. The next call gives the next one. Without shuffling, always all of it."""
        mine = self.plan()[self.dp_rank :: self.dp_size]
        for number in range(self.batch, len(mine)):
            if self.shuffle:
                # Before the batch is given: Lightning counts batches and never asks for one after the last.
                is_last = number == len(mine) - 1
                self.epoch, self.batch = (self.epoch + 1, 0) if is_last else (self.epoch, number + 1)
            yield self._batch(mine[number])

    def plan(self) -> list[list[int]]:
        """Batches of all ranks in the current epoch, as indices of pairs."""
        if self._planned[0] != self.epoch:
            lengths = self.pairs.stored_tokens()
            seed = self.recipe.seed * 1_000_003 + self.epoch if self.shuffle else None
            batches = plan_batches(lengths, self.recipe.budget_tokens, seed=seed)
            while len(batches) % self.dp_size:
                largest = max(range(len(batches)), key=lambda index: len(batches[index]))
                whole = batches.pop(largest)
                if len(whole) < 2:
                    raise ValueError(
                        f"Batches of one pair cannot be dealt evenly to {self.dp_size} ranks. Raise "
                        f"budget_tokens above {self.recipe.budget_tokens}."
                    )
                batches += [whole[::2], whole[1::2]]
            self._planned = (self.epoch, batches)
        return self._planned[1]

    def fill_rate(self) -> float:
        """Share of the budget that is used, without the last batch."""
        batches = self.plan()[:-1] or self.plan()
        lengths = self.pairs.stored_tokens()
        used = sum(lengths[index] for batch in batches for index in batch)
        return used / (len(batches) * self.recipe.budget_tokens)

    def state_dict(self) -> dict[str, Any]:
        """Epoch and batches already given."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "pairs": len(self.pairs),
            "seed": self.recipe.seed,
            "budget_tokens": self.recipe.budget_tokens,
            "data ranks": self.dp_size,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken.

        Raises:
            ValueError: If it was taken over other pairs, or they were spread otherwise over batches and ranks.
        """
        here = self.state_dict()
        for key in ("pairs", "seed", "budget_tokens", "data ranks"):
            if state[key] != here[key]:
                raise ValueError(
                    f"The checkpoint was taken with {key}={state[key]}, this run has {here[key]}. To resume, keep "
                    "preferences, seed, batches and number of ranks. To start anew, take another output folder."
                )
        self.epoch, self.batch = state["epoch"], state["batch"]

    def _batch(self, indices: Sequence[int]) -> PairBatch:
        pairs = [self.pairs[index] for index in indices]
        return tuple(self._row(part) for part in in_rows(pairs, self.recipe.row_tokens))

    def _row(self, pairs: Sequence[EncodedPair]) -> PairRow:
        return PairRow(
            packed=pack_groups([pair.group for pair in pairs], share_prompts=self.recipe.share_prompts),
            domain_index=torch.tensor([pair.domain_index for pair in pairs]),
            margin=torch.tensor([pair.margin for pair in pairs]),
        )


def in_rows(pairs: Sequence[EncodedPair], row_tokens: int) -> Iterator[list[EncodedPair]]:
    """Cut a batch into rows.

    Args:
        pairs: Of the batch.
        row_tokens: Most tokens of a row of several pairs. 0 cuts nowhere.
    """
    row: list[EncodedPair] = []
    tokens = 0
    for pair in pairs:
        if row and row_tokens and tokens + pair.stored_tokens > row_tokens:
            yield row
            row, tokens = [], 0
        row.append(pair)
        tokens += pair.stored_tokens
    yield row
