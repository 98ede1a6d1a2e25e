"""How PPO is run and measured: one recipe serves the job `ppo` and every round of online RLHF."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from internlm2_core.text.chat import ChatFormat
from internlm2_core.text.tokenizer import load_tokenizer
from lightning.pytorch.callbacks import ModelCheckpoint

from internlm2_align.ppo.audit import Judge
from internlm2_align.ppo.callbacks import IterationProgress, SaveActors
from internlm2_align.ppo.prompts import Queries, QueryLoader, read_prompts
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.ppo.system import PPOSystem
from internlm2_align.quiet import without_needless_warnings
from internlm2_align.reward.conditions import conditions_beside
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.roles.local import Roles


@dataclass(frozen=True)
class PPORecipe:
    """How to run PPO.

    Attributes:
        module: `PPOSystem` with its constants bound; gets ``roles``, ``encoder``, ``settings``, ``judge`` and ``seed``.
        roles: Makes the roles from two folders, given ``actor`` and ``reward``.
        trainer: Makes Lightning's Trainer, given ``max_epochs``, ``val_check_interval`` and ``enable_checkpointing``.
        instructions: JSON lines whose prompts are asked.
        heldout: JSON lines whose prompts are asked in validation.
        domains: Domain that replies are scored by, per task of the instructions.
        judge: Looks at held-out replies beside the reward model, for the record only.
        pretrain: Recipe of pre-training batches with a method ``loader(dp_rank, dp_size, num_workers)``, or None.
        settings: The numbers of PPO.
        queries: Prompts of an iteration.
        iterations: Iterations, the critic's warm-up included.
        validate_every: Iterations between validations; divides ``iterations``, so that the last actor is measured.
        snapshots: Iterations after which the actor is written beside the result.
        heldout_limit: Held-out prompts asked in a validation.
        max_prompt_tokens: Longer prompts are left out.
        max_tokens: Longest conversation that the reward model scores.
        seed: Of the order of prompts and the sampling.

    Raises:
        ValueError: If ``validate_every`` does not divide ``iterations``, or none is left to the actor or to a snapshot;
            or if the Trainer is bound to what these numbers decide.
    """

    module: Callable[..., PPOSystem]
    roles: Callable[..., Roles]
    trainer: Callable[..., L.Trainer]
    instructions: str
    heldout: str
    domains: Mapping[str, str]
    settings: PPOSettings
    judge: Judge | None = None
    pretrain: Any = None
    queries: int = 512
    iterations: int = 450
    validate_every: int = 50
    snapshots: tuple[int, ...] = ()
    heldout_limit: int = 256
    max_prompt_tokens: int = 2048
    max_tokens: int = 8192
    seed: int = 1

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.validate_every < 1 or self.iterations % self.validate_every:
            raise ValueError(
                f"validate_every={self.validate_every} does not divide iterations={self.iterations}; set both so that "
                "the last iteration is validated."
            )
        if (warmup := self.settings.warmup_iterations) >= self.iterations:
            raise ValueError(
                f"settings.warmup_iterations={warmup} leaves none of iterations={self.iterations} to the actor; lower "
                "the first or raise the second."
            )
        if late := [number for number in self.snapshots if not 1 <= number <= self.iterations]:
            raise ValueError(f"snapshots={late} are not among iterations 1 to {self.iterations}; set snapshots.")
        if self.heldout_limit < 1:
            raise ValueError(f"heldout_limit={self.heldout_limit} leaves no prompt to validate on; set 1 or more.")
        given = getattr(self.trainer, "keywords", {})
        for name, instead in (("max_epochs", "iterations"), ("val_check_interval", "validate_every")):
            if (value := given.get(name)) not in (None, -1):
                raise ValueError(f"trainer.{name}={value} would go unheard in PPO; set {instead}=N.")

    def run(self, checkpoint: str | Path, reward: str | Path, folder: Path) -> dict[str, Any]:
        """Run PPO; goes on from ``FOLDER/checkpoints/last.ckpt`` if it is there.

        Whether that was taken under the same settings is not asked here; the command compares them before.

        Writes ``FOLDER/model`` (the best actor on validation), ``FOLDER/last`` (the last one) and
        ``FOLDER/snapshots/iteration-N``.

        Args:
            checkpoint: Folder of the SFT model.
            reward: Folder of the reward model.
            folder: Of the run.

        Returns:
            The figures of the run; see `internlm2_align.jobs.ppo`.

        Raises:
            FileNotFoundError: If a model, its condition table or a file is missing.
            ValueError: If no prompt is left, a domain has no condition or no prompt, or the Trainer stopped before the
                first validation.
        """
        L.seed_everything(self.seed, verbose=False)
        encoder = ConversationEncoder(load_tokenizer(checkpoint), conditions_beside(reward), self.max_tokens)
        system = self.module(
            roles=self.roles(actor=checkpoint, reward=reward),
            encoder=encoder,
            settings=self.settings,
            judge=self.judge,
            seed=self.seed,
        )
        queries, counts = self._queries(encoder.chat)
        last = folder / "checkpoints" / "last.ckpt"
        # What Lightning calls a sanity check is here the validation of the actor before training.
        first_look = 0 if last.exists() else -1
        trainer = self.trainer(
            max_epochs=1,
            val_check_interval=self.validate_every,
            num_sanity_val_steps=first_look,
            enable_checkpointing=False,
        )
        saver = ModelCheckpoint(folder / "checkpoints", save_last=True, save_on_train_epoch_end=False)
        callbacks = [IterationProgress(), SaveActors(folder, self.snapshots, checkpoint), saver]
        trainer.callbacks += callbacks  # type: ignore[attr-defined]
        start = time.perf_counter()
        with without_needless_warnings():
            trainer.fit(system, datamodule=queries, ckpt_path=last if last.exists() else None)
        if trainer.interrupted:
            raise KeyboardInterrupt
        if not any(entry["iteration"] and "valid/reward" in entry for entry in system.history):
            raise ValueError(
                f"The run was stopped after {system.iteration} iterations, before its first validation; set "
                f"trainer.max_steps or trainer.max_time to more, or validate_every={self.validate_every} to less."
            )
        return {"prompts": counts, "seconds": round(time.perf_counter() - start, 2), **_course(system)}

    def _queries(self, chat: ChatFormat) -> tuple[Queries, dict[str, dict[str, int]]]:
        prompts, counts = read_prompts(self.instructions, chat, self.domains, self.max_prompt_tokens)
        tasks = {prompt.record["task"] for prompt in prompts}
        if unused := self.domains.keys() - tasks:
            raise ValueError(
                f"No prompt of {self.instructions} is of task {', '.join(sorted(unused))}, only of "
                f"{', '.join(sorted(tasks))}; mend domains={{TASK: DOMAIN}} or raise max_prompt_tokens."
            )
        held, held_counts = read_prompts(self.heldout, chat, self.domains, self.max_prompt_tokens)
        chosen = held[:: max(1, -(-len(held) // self.heldout_limit))]

        def train(dp_rank: int, dp_size: int) -> QueryLoader:
            texts = None if self.pretrain is None else self.pretrain.loader(dp_rank, dp_size, 0)
            return QueryLoader(prompts, self.queries, self.iterations, self.seed, texts, dp_rank, dp_size)

        return Queries(train, chosen, self.queries), {"train": counts, "heldout": held_counts}


def _course(system: PPOSystem) -> dict[str, Any]:
    """The history, and the validations at its start, its best reward and its end."""
    validations = [entry for entry in system.history if "valid/reward" in entry]
    return {
        "iterations": system.iteration,
        "warmup_iterations": system.settings.warmup_iterations,
        "start": validations[0],
        "best": max(validations[1:], key=lambda entry: entry["valid/reward"]),
        "last": validations[-1],
        "history": system.history,
    }
