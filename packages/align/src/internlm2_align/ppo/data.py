"""PromptData: prompts of one's own as the queries of PPO, one query for each iteration."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import lightning as L
from internlm2_core.phases import Batches
from internlm2_core.shares import place_of

from internlm2_align.ppo.prompt import Prompt
from internlm2_align.ppo.prompt_files import File, prompt_files, read_prompts
from internlm2_align.ppo.prompts import HeldOutQueries, QueryLoader
from internlm2_align.preferences.preference import OnBad, check_on_bad
from internlm2_align.preferences.questions import Questions, Words, check_share, is_held_out, same_words
from internlm2_align.reward.conditions import index_of
from internlm2_align.reward.encoding import ConversationEncoder


class PromptData(L.LightningDataModule):
    """Prompts from files, each once, in queries of the same size, training and held-out ones apart by question.

    Args:
        prompts: Files of prompts that are asked: paths, or the arguments of `PromptFile`.
        encoder: Of the reward model. It knows the domains and encodes prompts.
        heldout: Files of prompts that are asked in validation. Their questions are left out of training.
        domains: Domain that replies are scored by, for each ``task`` of records that name no domain.
        weights: Share of each domain in every iteration. None asks every prompt as often as any other.
        heldout_share: Share of the questions of ``prompts`` that is held out too.
        heldout_seed: Another one holds out other questions.
        queries: Prompts of an iteration, over all ranks.
        iterations: Iterations, the critic's warm-up included.
        heldout_limit: Held-out prompts asked in a validation, of all domains, tasks and languages.
        max_prompt_tokens: Longer prompts are left out.
        pretrain: Makes pre-training batches for the pre-train loss, or None.
        on_bad: Whether malformed records are counted and skipped, or refused.
        seed: Of the order of prompts.

    Attributes:
        prompts: Training prompts.
        heldout_prompts: Held-out prompts, ``heldout_limit`` of them at most.
        counts: ``{"train", "heldout"}``: Prompts ``used``, and records left out by reason.

    Raises:
        ValueError: If ``heldout_limit`` or ``heldout_share`` is out of range.
    """

    def __init__(
        self,
        prompts: File | Sequence[File],
        encoder: ConversationEncoder,
        heldout: File | Sequence[File] = (),
        domains: Mapping[str, str] | None = None,
        weights: Mapping[str, float] | None = None,
        heldout_share: float = 0.0,
        heldout_seed: int = 0,
        queries: int = 512,
        iterations: int = 450,
        heldout_limit: int = 256,
        max_prompt_tokens: int = 2048,
        pretrain: Batches | None = None,
        on_bad: OnBad = "skip",
        seed: int = 1,
    ) -> None:
        super().__init__()
        check_on_bad(on_bad)
        check_share(heldout_share)
        if heldout_limit < 1:
            raise ValueError(f"heldout_limit={heldout_limit} must be 1 or more, or no prompt is validated on.")
        self.files, self.heldout_files = prompt_files(prompts), prompt_files(heldout)
        self.encoder, self.domains, self.weights = encoder, dict(domains or {}), weights
        self.heldout_share, self.heldout_seed, self.on_bad = heldout_share, heldout_seed, on_bad
        self.queries, self.iterations, self.seed, self.pretrain = queries, iterations, seed, pretrain
        self.heldout_limit, self.max_prompt_tokens = heldout_limit, max_prompt_tokens
        self.prompts: Sequence[Prompt] = ()
        self.heldout_prompts: Sequence[Prompt] = ()
        self.counts: dict[str, dict[str, int]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read and encode, once.

        Args:
            stage: Of Lightning. Every stage needs both sides.

        Raises:
            FileNotFoundError: If a file is missing.
            UnknownDomainError: If a domain has no condition prompt.
            ValueError: If no prompt is left on a side, or ``domains`` or ``weights`` name what no prompt has.
        """
        if self.prompts:
            return
        train, held_out = Counter[str](), Counter[str]()
        found = self._read("prompts", train)
        held = self._read("heldout", held_out)
        questions = Questions(prompt.messages for prompt in (*found, *held))
        known = {_question(prompt, questions) for prompt in held}
        left = []
        for prompt in found:
            question = _question(prompt, questions)
            if is_held_out(question, self.heldout_share, self.heldout_seed):
                held.append(prompt)
                known.add(question)
            else:
                left.append((prompt, question))
        training = [prompt for prompt, question in left if question not in known]
        train |= Counter(used=len(training), question_is_held_out=len(left) - len(training))
        held_out["used"] = len(held)
        self._check(training, held, train, held_out)
        self.heldout_prompts = of_every_kind(held, self.heldout_limit, self.seed)
        self.prompts, self.counts = training, {"train": dict(+train), "heldout": dict(+held_out)}

    def _read(self, argument: str, counts: Counter[str]) -> list[Prompt]:
        files = self.files if argument == "prompts" else self.heldout_files
        chat, limit = self.encoder.chat, self.max_prompt_tokens
        return list(read_prompts(files, chat, self.domains, limit, counts, self.on_bad))

    def _check(
        self, prompts: Sequence[Prompt], held: Sequence[Prompt], train: Counter[str], held_out: Counter[str]
    ) -> None:
        for name, side, files, counts in (
            ("prompts", prompts, self.files, train),
            ("heldout", held, self.heldout_files, held_out),
        ):
            if not side:
                left_out = ", ".join(f"{count} {reason}" for reason, count in (+counts).most_common())
                raise ValueError(
                    f"No prompt is left of {name}={', '.join(str(file.path) for file in files) or 'nothing'} with "
                    f"max_prompt_tokens={self.max_prompt_tokens}: {left_out or 'there is none'}. With on_bad=raise the "
                    "first malformed one is refused by name. heldout_share above 0 holds out some of prompts."
                )
            for domain in {prompt.domain for prompt in side}:
                index_of(self.encoder.conditions, domain)
        tasks = {task for prompt in prompts if isinstance(task := prompt.record.get("task"), str)}
        for name, wanted, there in (
            ("domains", self.domains.keys(), tasks),
            ("weights", (self.weights or {}).keys(), {prompt.domain for prompt in prompts}),
        ):
            if unused := set(wanted) - there:
                raise ValueError(
                    f"{name} names {', '.join(sorted(unused))}, and no prompt of "
                    f"prompts={', '.join(str(file.path) for file in self.files)} with "
                    f"max_prompt_tokens={self.max_prompt_tokens} has that. There are {', '.join(sorted(there))}."
                )

    def train_dataloader(self) -> QueryLoader:
        """Queries of this data-parallel rank."""
        rank, size = place_of(self)
        texts = None if self.pretrain is None else self.pretrain.loader(rank, size, 0)
        return QueryLoader(self.prompts, self.queries, self.iterations, self.seed, texts, rank, size, self.weights)

    def val_dataloader(self) -> HeldOutQueries:
        """Held-out prompts of this data-parallel rank."""
        rank, size = place_of(self)
        return HeldOutQueries(self.heldout_prompts, self.queries, rank, size)

    test_dataloader = predict_dataloader = val_dataloader


def _question(prompt: Prompt, questions: Questions) -> Words:
    meta = prompt.record.get("meta")
    named = meta.get("question") if isinstance(meta, Mapping) else None
    return questions.of(prompt.messages) if named is None else (same_words(str(named)),)


def of_every_kind(prompts: Sequence[Prompt], limit: int, seed: int) -> list[Prompt]:
    """Some prompts in order, of each domain, task and language in proportion, and one at least while there is room.

    Args:
        prompts: All there are.
        limit: How many are taken at most.
        seed: Of the choice.
    """
    kinds: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        kinds[prompt.domain, str(prompt.record.get("task")), prompt.language].append(index)
    ranked: list[tuple[float, int]] = []
    for places in kinds.values():
        chosen = random.Random(seed).sample(places, len(places))
        ranked += [(number / len(chosen), index) for number, index in enumerate(chosen)]
    return [prompts[index] for index in sorted(index for _, index in sorted(ranked)[:limit])]
