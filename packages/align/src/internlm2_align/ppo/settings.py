"""The numbers of PPO, each with the report's value as its default (section 4.2.3)."""

from dataclasses import dataclass
from typing import Literal, get_args

from internlm2_align.ppo.rewards import KLEstimator

OnBad = Literal["skip", "stop"]
IN_A_ROW = 10
"""Iterations or steps that may be left out one after the other before the run ends."""


@dataclass(frozen=True)
class PPOSettings:
    """Numbers of one PPO run.

    Attributes:
        warmup_iterations: Iterations in which only the critic learns.
        kl_coefficient: Price of a nat of divergence from the reference, per token.
        kl_estimator: Of that divergence, see `internlm2_align.ppo.rewards`. The report names none, k1 is what its
            formula reads as.
        kl_target: Nats per response that the divergence is steered to by changing its price (Ziegler et al. 2019).
            None leaves the price as it is, as the report does.
        kl_horizon: Responses over which the price changes by a fifth where the divergence is far off its target.
        gamma: Discount.
        lam: Lambda of the advantage estimate.
        clip: Half width of the trust interval of the policy's ratio. The report names none, 0.2 is from Schulman 2017.
        epochs: Passes over the rollout of an iteration.
        mini_batches: Optimizer steps in a pass.
        pretrain_coefficient: Weight of the pre-training loss in the actor's loss.
        pretrain_share: Pre-training tokens of an iteration per sampled token, in whole rows and one at least. None
            takes a whole batch of `pretrain` in every iteration.
        truncation_penalty: Taken off the score of a response that did not end by itself. The report names none, and 1
            is what such a response is usually docked (TRL's ``missing_eos_penalty``).
        max_mismatch: Most nats by which log-probabilities of engine and trainer may differ, on average over the tokens
            of an iteration. Beyond it the engine does not have the actor's weights.
        on_bad: What happens where a score, a loss or a gradient is not finite. ``skip`` leaves the iteration or the
            step out, and ends the run after ten in a row. ``stop`` ends it at the first one.
        max_grad_norm: Gradients of actor and critic are clipped to this norm each. 0 clips nothing.
        micro_batch_tokens: Tokens computed at once.

    Raises:
        ValueError: If a number is out of range.
    """

    warmup_iterations: int = 50
    kl_coefficient: float = 0.01
    kl_estimator: KLEstimator = "k1"
    kl_target: float | None = None
    kl_horizon: float = 10_000
    gamma: float = 1.0
    lam: float = 0.99
    clip: float = 0.2
    epochs: int = 1
    mini_batches: int = 1
    pretrain_coefficient: float = 0.5
    pretrain_share: float | None = 0.5
    truncation_penalty: float = 1.0
    max_mismatch: float = 0.1
    on_bad: OnBad = "skip"
    max_grad_norm: float = 1.0
    micro_batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        at_least = {"warmup_iterations": 0, "epochs": 1, "mini_batches": 1, "micro_batch_tokens": 1}
        at_least |= {"kl_coefficient": 0, "pretrain_coefficient": 0, "truncation_penalty": 0, "max_grad_norm": 0}
        at_least |= {"max_mismatch": 0} | ({} if self.pretrain_share is None else {"pretrain_share": 0})
        for name, limit in at_least.items():
            if getattr(self, name) < limit:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {limit}.")
        for name in ("kl_target", "kl_horizon"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0.")
        for name, words in (("kl_estimator", get_args(KLEstimator)), ("on_bad", get_args(OnBad))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name}={getattr(self, name)} must be one of {', '.join(words)}.")
        for name in ("gamma", "lam", "clip"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be in [0, 1].")

    @property
    def most_left_out(self) -> int:
        """Iterations or steps in a row that end the run."""
        return IN_A_ROW if self.on_bad == "skip" else 1
