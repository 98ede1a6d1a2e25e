"""PPOSystem: proximal policy optimisation of four models in Lightning (report section 4.2.3).

    from internlm2_align import PPOSystem
    PPOSystem.load_from_checkpoint("runs/ppo/checkpoints/last.ckpt").save("actor")

One ``training_step`` is one iteration: sample, score, judge, then the optimizer steps of critic and actor.

    query --engine(actor)--> responses --reward(condition + query + response)--> scores
          --actor, reference, critic--> Rollout --> critic steps, actor steps (+ pretrain_coefficient * LM loss)

In the first ``warmup_iterations`` only the critic learns. Everything random is seeded by the iteration's number, so a
resumed run samples what an undisturbed one would. Checkpoints hold actor, critic, both optimizers, the iteration and
the history. The frozen models come from their own folders again.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import torch
from internlm2_core.batch import Batch
from internlm2_core.checkpoint import save_released
from internlm2_core.generation import Engine, LocalEngine, Sampling
from internlm2_core.generation.answers import complete
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.shares import share_of
from internlm2_core.text import load_tokenizer
from internlm2_core.training import StepModule
from internlm2_records import Message
from torch import Tensor
from torch.optim import Optimizer

from internlm2_align.ppo.audit import Judge, SampleMeans
from internlm2_align.ppo.losses import policy_loss, value_loss
from internlm2_align.ppo.prompts import Query
from internlm2_align.ppo.refusals import CountsIterations, check_iterations, check_strategy
from internlm2_align.ppo.rewards import sequence_kl
from internlm2_align.ppo.rollout import Rollout, judge_rollout
from internlm2_align.ppo.sampling import Scored, sample_and_score
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.ppo.updates import (
    actor_losses,
    critic_losses,
    floats,
    loss_tokens,
    mini_batches,
    pretrain_losses,
)
from internlm2_align.reward.conditions import conditions_beside
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import RewardNetwork
from internlm2_align.reward.scoring import Scorer
from internlm2_align.roles.local import Roles, local_roles

TRAINED = ("actor.", "critic.")
SAMPLING = Sampling(max_new_tokens=256, top_p=0.9)
SETTINGS = PPOSettings()
ACTOR_OPTIMIZER = partial(torch.optim.AdamW, lr=1e-6, betas=(0.9, 0.95), weight_decay=0.0)
CRITIC_OPTIMIZER = partial(torch.optim.AdamW, lr=5e-6, betas=(0.9, 0.95), weight_decay=0.0)


class PPOSystem(StepModule):
    """PPO with condition prompts, critic warm-up and pre-train loss.

    Args:
        roles: Makers of the four models.
        encoder: Encodes conversations for the reward model under their condition.
        engine: Makes the engine that samples, given the actor's network.
        sampling: Top-p 0.9 in the report. The stop token is set here.
        settings: The numbers of PPO.
        actor_optimizer: Makes the actor's optimizer from its parameters.
        critic_optimizer: Makes the critic's.
        judge: Looks at held-out responses beside the reward model. Training never sees it.
        policy_loss: Of the actor, see `internlm2_align.ppo.losses`.
        value_loss: Of the critic.
        seed: Of the sampling.
    """

    actor: LanguageModel
    critic: RewardNetwork
    reference: LanguageModel
    reward: RewardNetwork

    def __init__(
        self,
        roles: Roles,
        encoder: ConversationEncoder,
        engine: Callable[[LanguageModel], Engine] = LocalEngine,
        sampling: Sampling = SAMPLING,
        settings: PPOSettings = SETTINGS,
        actor_optimizer: Callable[..., Optimizer] = ACTOR_OPTIMIZER,
        critic_optimizer: Callable[..., Optimizer] = CRITIC_OPTIMIZER,
        judge: Judge | None = None,
        policy_loss: Callable[..., Tensor] = policy_loss,
        value_loss: Callable[..., Tensor] = value_loss,
        seed: int = 1,
    ) -> None:
        super().__init__(settings.max_grad_norm)
        self.strict_loading = False  # Checkpoints leave out the frozen models. `on_load_checkpoint` checks the rest.
        self.roles, self.encoder, self.make_engine, self.sampling = roles, encoder, engine, sampling
        self.settings, self.judge, self.seed = settings, judge, seed
        self.policy_loss, self.value_loss = policy_loss, value_loss
        self.make_optimizers = (actor_optimizer, critic_optimizer)
        self.iteration = 0
        self.history: list[dict[str, Any]] = []
        figures = ("reward", "kl", "length", "finished", *(["judge"] if judge else []))
        self.means = SampleMeans(encoder.conditions.domains, figures)

    def setup(self, stage: str) -> None:
        """Refuse what would wait for ever, and numbers that do not fit each other.

        Raises:
            ValueError: If `check_strategy` or `check_iterations` refuses.
        """
        check_strategy(self.trainer)
        if stage == "fit" and isinstance(data := self.trainer.datamodule, CountsIterations):  # type: ignore[attr-defined]
            check_iterations(self.trainer, data.iterations, self.settings.warmup_iterations)

    def configure_model(self) -> None:
        """Make the four networks, once."""
        if hasattr(self, "actor"):
            return
        self.actor, self.critic = self.roles.actor(), self.roles.critic()
        self.reference = self.roles.reference().requires_grad_(False).eval()
        self.reward = self.roles.reward().requires_grad_(False).eval()

    def configure_optimizers(self) -> list[Optimizer]:
        """One optimizer for the actor, one for the critic."""
        nets = (self.actor, self.critic)
        return [make(net.parameters()) for make, net in zip(self.make_optimizers, nets, strict=True)]

    @property
    def is_warming_up(self) -> bool:
        """Whether only the critic learns in the current iteration."""
        return self.iteration < self.settings.warmup_iterations

    def training_step(self, query: Query, batch_idx: int) -> None:
        """One iteration."""
        scored = self.sample(query, seed=self.seed * 1_000_003 + self.iteration)
        rollout = self._judge(scored)
        figures = {f"train/{name}": value for name, value in rollout.summary().items()}
        sums: Counter[str] = Counter()
        parts, epochs = self.settings.mini_batches, self.settings.epochs
        for part, texts in mini_batches(rollout, query.pretrain, parts=parts, epochs=epochs, seed=self.iteration):
            sums.update(self._critic_step(part))
            if not self.is_warming_up:
                sums.update(self._actor_step(part, texts))
        figures |= {f"train/{name}": value / (parts * epochs) for name, value in sums.items()}
        figures = {name: float(self.mean_over_ranks(torch.tensor(value))) for name, value in figures.items()}
        self.history.append({"iteration": self.iteration + 1, "critic_only": self.is_warming_up, **figures})
        self.iteration += 1
        self.log_dict(figures)
        self.log("reward", figures["train/reward"], prog_bar=True, logger=False)

    def validation_step(self, query: Query, batch_idx: int) -> None:
        """Sample replies to held-out prompts, always from the same random numbers, and look at them."""
        scored = self.sample(query, seed=self.seed * 1_000_003 + 500_000 + batch_idx)
        rollout = self._judge(scored)
        kl_B = sequence_kl(rollout.logprobs, rollout.reference_logprobs, rollout.mask).tolist()
        lengths_B = rollout.mask.sum(1).tolist()
        for row, prompt in enumerate(query.prompts):
            values = [scored.scores[row].item(), kl_B[row], lengths_B[row], float(scored.finished[row])]
            if self.judge is not None:
                values.append(self.judge(prompt, scored.texts[row]))
            self.means.add(prompt.domain, values)

    def on_validation_epoch_end(self) -> None:
        """Log the means and keep them in the history."""
        self.history.append({"iteration": self.iteration, **self._log_means("valid")})

    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        """Log the means as ``test/NAME``."""
        self._log_means("test")

    def predict_step(self, query: Query, batch_idx: int) -> list[str]:
        """Sampled replies to the prompts of a query."""
        return self.sample(query, seed=self.seed * 1_000_003 + 500_000 + batch_idx).texts

    def _log_means(self, stage: str) -> dict[str, float]:
        reduce = partial(self.trainer.strategy.reduce, reduce_op="sum")
        figures = {f"{stage}/{name}": value for name, value in self.means.compute(reduce).items()}
        self.means.reset()
        self.log_dict(figures)
        return figures

    def sample(self, query: Query, seed: int) -> Scored:
        """Sample and score one response to each prompt. Ranks that share rows sample the same replies."""
        return sample_and_score(
            query.prompts,
            self.make_engine(self.actor),
            self.sampling,
            Scorer(self.reward, self.encoder, self.settings.micro_batch_tokens),
            seed=seed + share_of(self.trainer)["rank"] * 7_919,
            truncation_penalty=self.settings.truncation_penalty,
        )

    def _judge(self, scored: Scored) -> Rollout:
        return judge_rollout(
            scored.responses,
            scored.scores,
            scored.finished,
            self.actor,
            self.reference,
            self.critic,
            kl_coefficient=self.settings.kl_coefficient,
            gamma=self.settings.gamma,
            lam=self.settings.lam,
            micro_batch_tokens=self.settings.micro_batch_tokens,
        )

    def _critic_step(self, rollout: Rollout) -> dict[str, float]:
        tokens = self.mean_over_ranks(rollout.mask.sum())
        losses = critic_losses(self.critic, rollout, tokens, self.settings.micro_batch_tokens, self.value_loss)
        return floats(self.take_step(losses, index=1))

    def _actor_step(self, rollout: Rollout, texts: Batch | None) -> dict[str, float]:
        settings, budget = self.settings, self.settings.micro_batch_tokens
        tokens = self.mean_over_ranks(rollout.mask.sum())
        text_tokens = self.mean_over_ranks(loss_tokens(texts))
        policy = actor_losses(self.actor, rollout, tokens, budget, self.policy_loss, clip=settings.clip)
        text = pretrain_losses(self.actor, texts, text_tokens, budget, coefficient=settings.pretrain_coefficient)
        return floats(self.take_step(chain(policy, text)))

    def arguments(self) -> dict[str, Any]:
        """Those that a checkpoint file can hold. The frozen models come from their folders."""
        names = ("roles", "encoder", "sampling", "settings", "policy_loss", "value_loss", "seed")
        kept = {name: getattr(self, name) for name in names}
        optimizers = dict(zip(("actor_optimizer", "critic_optimizer"), self.make_optimizers, strict=True))
        return kept | optimizers | {"engine": self.make_engine}

    def save(self, folder: str | Path, tensors: dict[str, Tensor] | None = None) -> None:
        """Write the actor as a folder in released layout, atomically.

        Args:
            folder: Where. An older model is replaced.
            tensors: Whole weights by name, [...] each, where a strategy has gathered them. None takes those at hand.
        """
        tensors = dict(self.actor.state_dict()) if tensors is None else tensors
        path = self.encoder.tokenizer.path
        assert path is not None
        save_released(folder, self.actor.size, tensors.items(), path)

    @classmethod
    def load(cls, actor: str | Path, reward: str | Path, **settings: Any) -> Self:
        """A system from the folders of an actor (an SFT model, or what PPO wrote) and of a reward model.

        Args:
            actor: Released layout, with its tokenizer.
            reward: A reward model with its condition table.
            **settings: Of the constructor.
        """
        encoder = ConversationEncoder(load_tokenizer(actor), conditions_beside(reward))
        system = cls(**{"roles": local_roles(actor, reward), "encoder": encoder, **settings})
        system.configure_model()
        return system

    def generate(self, prompt: str | Sequence[Message], seed: int | None = None) -> str:
        """What the actor says, sampled as in training.

        Args:
            prompt: A user's words, or a whole conversation.
            seed: Of the sampling. None takes the system's.
        """
        messages: Sequence[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        sampling = replace(self.sampling, seed=self.seed if seed is None else seed)
        return complete(self.make_engine(self.actor), self.encoder.tokenizer, messages, sampling)

    def transfer_batch_to_device(self, batch: Query, device: torch.device, dataloader_idx: int) -> Query:
        """Move the pre-training rows. Prompts stay Python."""
        if batch.pretrain is None:
            return batch
        rows: Any = {name: value.to(device) for name, value in batch.pretrain.items() if isinstance(value, Tensor)}
        return Query(batch.prompts, rows)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the frozen models. Add iteration and history."""
        super().on_save_checkpoint(checkpoint)
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name.startswith(TRAINED)}
        checkpoint["ppo"] = {"iteration": self.iteration, "history": list(self.history), "seed": self.seed}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up iteration and history.

        Raises:
            ValueError: If the checkpoint lacks weights of actor or critic, or was taken under another seed.
        """
        wanted = {name for name in self.state_dict() if name.startswith(TRAINED)}
        if missing := wanted - set(checkpoint["state_dict"]):
            raise ValueError(f"The checkpoint lacks {len(missing)} weights of PPO, {min(missing)} among them.")
        kept = checkpoint["ppo"]
        if kept["seed"] != self.seed:
            raise ValueError(f"The checkpoint was taken with seed={kept['seed']}, this run has {self.seed}.")
        self.iteration, self.history = kept["iteration"], kept["history"]
