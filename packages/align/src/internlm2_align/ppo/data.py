"""PromptData: instruction files as the queries of PPO, one for each iteration."""

from collections.abc import Mapping, Sequence

import lightning as L
from internlm2_core.phases import Batches
from internlm2_core.shares import place_of
from internlm2_core.text.chat import ChatFormat

from internlm2_align.ppo.prompts import HeldOutQueries, Prompt, QueryLoader, read_prompts


class PromptData(L.LightningDataModule):
    """Prompts from files, in queries of the same size.

    Args:
        instructions: File of instruction records whose prompts are asked.
        heldout: File of instruction records whose prompts are asked in validation.
        chat: Encodes prompts.
        domains: Domain that replies are scored by, for each task of the records. Other tasks are left out.
        queries: Prompts of an iteration, over all ranks.
        iterations: Iterations, the critic's warm-up included.
        heldout_limit: Held-out prompts asked in a validation.
        max_prompt_tokens: Longer prompts are left out.
        pretrain: Makes pre-training batches for the pre-train loss, or None.
        seed: Of the order of prompts.

    Attributes:
        prompts: Training prompts.
        heldout_prompts: Held-out prompts, ``heldout_limit`` of them at most.
        counts: ``{"train", "heldout"}``: Counts ``used``, ``other_task`` and ``too_long`` of each file.

    Raises:
        ValueError: If ``heldout_limit`` is below 1.
    """

    def __init__(
        self,
        instructions: str,
        heldout: str,
        chat: ChatFormat,
        domains: Mapping[str, str],
        queries: int = 512,
        iterations: int = 450,
        heldout_limit: int = 256,
        max_prompt_tokens: int = 2048,
        pretrain: Batches | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__()
        if heldout_limit < 1:
            raise ValueError(f"heldout_limit={heldout_limit} must be 1 or more, or no prompt is validated on.")
        self.instructions, self.heldout, self.chat, self.domains = instructions, heldout, chat, domains
        self.queries, self.iterations, self.seed, self.pretrain = queries, iterations, seed, pretrain
        self.heldout_limit, self.max_prompt_tokens = heldout_limit, max_prompt_tokens
        self.prompts: Sequence[Prompt] = ()
        self.heldout_prompts: Sequence[Prompt] = ()
        self.counts: dict[str, dict[str, int]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read and encode, once.

        Args:
            stage: Of Lightning. Every stage needs both files.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file gives no prompt, or a task of ``domains`` has none.
        """
        if self.prompts:
            return
        prompts, train = read_prompts(self.instructions, self.chat, self.domains, self.max_prompt_tokens)
        tasks = {prompt.record["task"] for prompt in prompts}
        if unused := self.domains.keys() - tasks:
            raise ValueError(
                f"domains names {', '.join(sorted(unused))}, and no prompt of instructions={self.instructions} with "
                f"max_prompt_tokens={self.max_prompt_tokens} is of that task. There are {', '.join(sorted(tasks))}."
            )
        held, held_out = read_prompts(self.heldout, self.chat, self.domains, self.max_prompt_tokens)
        self.heldout_prompts = held[:: max(1, -(-len(held) // self.heldout_limit))]
        self.prompts, self.counts = prompts, {"train": train, "heldout": held_out}

    def train_dataloader(self) -> QueryLoader:
        """Queries of this data-parallel rank."""
        rank, size = place_of(self)
        texts = None if self.pretrain is None else self.pretrain.loader(rank, size, 0)
        return QueryLoader(self.prompts, self.queries, self.iterations, self.seed, texts, rank, size)

    def val_dataloader(self) -> HeldOutQueries:
        """Held-out prompts of this data-parallel rank."""
        rank, size = place_of(self)
        return HeldOutQueries(self.heldout_prompts[rank::size], self.queries)

    test_dataloader = predict_dataloader = val_dataloader
