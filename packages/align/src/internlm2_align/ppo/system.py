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
from functools import partial
from typing import Any

import torch
from internlm2_core.batch import Batch, divisor
from internlm2_core.generation import Engine, LocalEngine, Sampling
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.shares import SaysHowWeightsLie, share_of
from internlm2_core.training import StepLoss
from internlm2_core.training.finite import LeftOut
from torch import Tensor
from torch.optim import Optimizer

from internlm2_align.finite import not_finite
from internlm2_align.ppo.advantages import gae
from internlm2_align.ppo.audit import Judge, SampleMeans
from internlm2_align.ppo.figures import figures, sums_of
from internlm2_align.ppo.heldout import AnswersHeldOut
from internlm2_align.ppo.losses import policy_loss, value_loss
from internlm2_align.ppo.price import KLPrice
from internlm2_align.ppo.prompts import Query
from internlm2_align.ppo.refusals import (
    check_apart,
    check_data,
    check_engine,
    check_groups,
    check_mismatch,
    check_sampling,
    check_strategy,
)
from internlm2_align.ppo.rollout import Estimate, Rollout, judge_rollout, never
from internlm2_align.ppo.sampling import Scored, sample_and_score
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.ppo.updates import (
    actor_losses,
    critic_losses,
    evened,
    floats,
    loss_tokens,
    mini_batches,
    pretrain_losses,
)
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.scoring import Scorer
from internlm2_align.roles.local import Roles

SAMPLING = Sampling(max_new_tokens=256, top_p=0.9)
SETTINGS = PPOSettings()
ACTOR_OPTIMIZER = partial(torch.optim.AdamW, lr=1e-6, betas=(0.9, 0.95), weight_decay=0.0)
CRITIC_OPTIMIZER = partial(torch.optim.AdamW, lr=5e-6, betas=(0.9, 0.95), weight_decay=0.0)
ITERATION = -1
"""What iterations that are left out are counted as, beside the steps of optimizers 0 and 1."""


class PPOSystem(AnswersHeldOut):
    """PPO with condition prompts, critic warm-up and pre-train loss.

    Args:
        roles: Makers of the four models.
        encoder: Encodes conversations for the reward model under their condition.
        engine: Makes the engine that samples, given the actor's network.
        sampling: Top-p 0.9 in the report. The stop token is set here, and special tokens are never sampled. Ratios and
            divergence are those of the policy at this temperature, before top-p and top-k.
        settings: The numbers of PPO.
        actor_optimizer: Makes the actor's optimizer from parameter groups.
        critic_optimizer: Makes the critic's.
        judge: Looks at held-out responses beside the reward model. Training never sees it.
        policy_loss: Of the actor, see `internlm2_align.ppo.losses`.
        value_loss: Of the critic.
        weight_decay: Of the matrices of actor and critic. Norms do not decay. The report names none for PPO.
        seed: Of the sampling.

    Attributes:
        estimate: Advantages and returns of rewards, values and mask.
        price: Of divergence in the current iteration.
        latest: What the last iteration sampled and learned from, for callbacks.

    Raises:
        ValueError: If ``sampling`` asks for what ratios cannot follow.
    """

    latest: tuple[Query, Scored, Rollout] | None = None

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
        weight_decay: float = 0.0,
        seed: int = 1,
    ) -> None:
        check_sampling(sampling)
        check_engine(engine, roles.sample_with)
        optimizers = (actor_optimizer, critic_optimizer)
        super().__init__(roles, encoder, engine, sampling, optimizers, weight_decay, settings.max_grad_norm, seed)
        self.left_out = LeftOut(settings.most_left_out)
        self.settings, self.judge, self.price = settings, judge, KLPrice(settings)
        self.policy_loss, self.value_loss = policy_loss, value_loss
        self.estimate: Estimate = partial(gae, gamma=settings.gamma, lam=settings.lam)
        self.iteration = 0
        self.history: list[dict[str, Any]] = []
        names = ("reward", "kl", "length", "finished", *(["judge"] if judge else []))
        self.means = SampleMeans(encoder.conditions.domains, names)

    def setup(self, stage: str) -> None:
        """Refuse what would wait for ever, and numbers that do not fit each other.

        Raises:
            ValueError: If `check_strategy`, `check_groups`, `check_apart` or `check_data` refuses.
        """
        check_strategy(self.trainer)
        check_groups(self.trainer, self.roles.group_size)
        check_apart(self.trainer, self.roles.apart)
        check_data(self.trainer, stage, self.settings.warmup_iterations, self.encoder, self.sampling.max_new_tokens)

    @property
    def is_warming_up(self) -> bool:
        """Whether only the critic learns in the current iteration."""
        return self.iteration < self.settings.warmup_iterations

    def training_step(self, query: Query, batch_idx: int) -> None:
        """One iteration.

        Raises:
            NotFiniteError: If too many iterations or steps in a row were not finite.
            ValueError: If the engine samples from other weights.
        """
        number = self.iteration + 1
        scored = self.sample(query, seed=self.seed * 1_000_003 + self.iteration)
        rollout = self._judge(scored, learns=True)
        found = {f"train/{name}": value for name, value in self._figures(rollout).items()}
        entry: dict[str, Any] = {"iteration": number, "critic_only": self.is_warming_up}
        # Before the first step: the networks are as they were. All ranks have the same figures and decide alike.
        if bad := not_finite(found):
            self.left_out.note(ITERATION, is_finite=False, is_taken=False)
            self.left_out.end_if_too_many(ITERATION, self, bad)
            self.history.append(entry | {"left_out": sorted(bad)})
        else:
            self.left_out.note(ITERATION, is_finite=True, is_taken=True)
            check_mismatch(found.get("train/engine_mismatch", 0.0), self.settings.max_mismatch, number)
            losses = self._learn(rollout, self._texts(query, rollout))
            # Steps that were left out have been told and counted. Their losses are not figures.
            found |= {name: value for name, value in losses.items() if name not in not_finite(losses)}
            found |= {f"train/{name}": value for name, value in self.price.note(found["train/kl"]).items()}
            self.history.append(entry | found)
            self.log_dict(found)
            self.log("reward", found["train/reward"], prog_bar=True, logger=False)
        self.latest = (query, scored, rollout.without_graph())
        self.iteration += 1

    def _figures(self, rollout: Rollout) -> dict[str, float]:
        sums = sums_of(rollout)
        total = self.trainer.strategy.reduce(torch.stack([*sums.values()]), reduce_op="mean")
        found = dict(zip(sums, total, strict=True))
        self.price.responses = round(float(found["responses"]) * share_of(self.trainer)["num_replicas"])
        return figures(found)

    def _texts(self, query: Query, rollout: Rollout) -> Batch | None:
        """Pre-training rows in proportion to what all ranks have sampled, as many on each of them."""
        if query.texts is None or self.is_warming_up or self.settings.pretrain_coefficient == 0:
            return None
        share = self.settings.pretrain_share
        sampled = float(self.mean_over_ranks(rollout.mask.sum()))
        rows: Any = query.texts.take(None if share is None else share * sampled)
        return {name: value.to(self.device) for name, value in rows.items()}  # type: ignore[return-value]

    def _learn(self, rollout: Rollout, texts: Batch | None) -> dict[str, float]:
        """The optimizer steps of an iteration, and the means of their losses."""
        # The same names on each rank, whether it has texts or not.
        sums: Counter[str] = Counter() if self.is_warming_up else Counter(pretrain_nats=0.0, pretrain_tokens=0.0)  # type: ignore[call-overload]
        parts, epochs = self.settings.mini_batches, self.settings.epochs
        for part, rows in mini_batches(rollout, texts, parts=parts, epochs=epochs, seed=self.iteration):
            sums.update(self._critic_step(part))
            if not self.is_warming_up:
                sums.update(self._actor_step(part, rows))
        means = {f"train/{name}": self._mean(value / (parts * epochs)) for name, value in sums.items()}
        nats, tokens = means.pop("train/pretrain_nats", 0.0), means.pop("train/pretrain_tokens", 0.0)
        return means | ({"train/pretrain_loss": nats / tokens} if tokens else {})

    def _mean(self, value: float) -> float:
        return float(self.mean_over_ranks(torch.tensor(value)))

    def sample(self, query: Query, seed: int) -> Scored:
        """Sample and score one response to each prompt. Ranks that share rows sample the same replies."""
        with self.at_work("actor", "reward"):
            return sample_and_score(
                query.prompts,
                self.sampler(),
                self.speech,
                Scorer(self.reward, self.encoder, self.settings.micro_batch_tokens),
                seed=seed + share_of(self.trainer)["rank"] * 7_919,
                truncation_penalty=self.settings.truncation_penalty,
            )

    def _judge(self, scored: Scored, learns: bool = False) -> Rollout:
        settings, everywhere = self.settings, partial(self.trainer.strategy.reduce_boolean_decision, all=True)
        with self.at_work("actor", "reference", "critic"):
            return judge_rollout(
                scored,
                self.actor,
                self.reference,
                self.critic,
                kl_coefficient=self.price.coefficient,
                kl_estimator=settings.kl_estimator,
                estimate=self.estimate,
                micro_batch_tokens=settings.micro_batch_tokens,
                keeps_graph=learns and settings.mini_batches == 1 and self._is_one_micro_batch(scored),
                # Steps of the actor give the entropies that an engine does not tell. Validation, where ranks have other
                # numbers of batches, and the critic's warm-up have none.
                agree=never if not learns or self.is_warming_up else everywhere,
            )

    def _is_one_micro_batch(self, scored: Scored) -> bool:
        """Whether a step can begin with the backward pass: one micro-batch on each rank, weights in place."""
        how = self.trainer.strategy
        stays = not (isinstance(how, SaysHowWeightsLie) and (how.gathers_weights or how.splits_layers))
        is_one = sum(scored.responses.lengths) <= self.settings.micro_batch_tokens
        return how.reduce_boolean_decision(stays and is_one, all=True)

    def _critic_step(self, rollout: Rollout) -> dict[str, float]:
        tokens = self.mean_over_ranks(rollout.mask.sum())
        losses = critic_losses(self.critic, rollout, tokens, self.settings.micro_batch_tokens, self.value_loss)
        return floats(self.take_step(self._evened([*losses]), index=1))

    def _actor_step(self, rollout: Rollout, texts: Batch | None) -> dict[str, float]:
        settings, budget = self.settings, self.settings.micro_batch_tokens
        tokens = self.mean_over_ranks(rollout.mask.sum())
        text_tokens = divisor(self.mean_over_ranks(loss_tokens(texts)))
        policy = actor_losses(
            self.actor, rollout, tokens, budget, self.policy_loss,
            clip=settings.clip, temperature=self.sampling.temperature or 1.0,
        )  # fmt: skip
        text = pretrain_losses(self.actor, texts, text_tokens, budget, coefficient=settings.pretrain_coefficient)
        return floats(self.take_step(self._evened([*policy, *text])))

    def _evened(self, parts: Sequence[Callable[[], StepLoss]]) -> Sequence[Callable[[], StepLoss]]:
        """As many micro-batches on each rank. Replies of other lengths make other numbers of them."""
        count = torch.tensor(float(len(parts)), device=self.device)
        return evened(parts, int(self.trainer.strategy.reduce(count, reduce_op="max")))

    def arguments(self) -> dict[str, Any]:
        """Those that a checkpoint file can hold. The frozen models come from their folders."""
        names = ("roles", "encoder", "sampling", "settings", "policy_loss", "value_loss", "weight_decay", "seed")
        kept = {name: getattr(self, name) for name in names}
        optimizers = dict(zip(("actor_optimizer", "critic_optimizer"), self.make_optimizers, strict=True))
        return kept | optimizers | {"engine": self.make_engine}

    def transfer_batch_to_device(self, batch: Query, device: torch.device, dataloader_idx: int) -> Query:
        """Nothing to move. Prompts stay Python, and pre-training rows are moved when they are taken."""
        return batch

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add iteration and history."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["ppo"] = {
            "iteration": self.iteration,
            "history": list(self.history),
            "seed": self.seed,
            "kl_coefficient": self.price.coefficient,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up iteration and history.

        Raises:
            ValueError: If the checkpoint lacks weights of actor or critic, or was taken under another seed.
        """
        super().on_load_checkpoint(checkpoint)
        kept = checkpoint["ppo"]
        if kept["seed"] != self.seed:
            raise ValueError(f"The checkpoint was taken with seed={kept['seed']}, this run has {self.seed}.")
        self.iteration, self.history = kept["iteration"], kept["history"]
        self.price.coefficient = kept["kl_coefficient"]
