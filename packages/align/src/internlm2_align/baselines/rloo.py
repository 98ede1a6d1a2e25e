"""RLOOSystem: REINFORCE with a leave-one-out baseline, as PPO without a critic (Ahmadian et al. 2024).

Each prompt gets several replies. The advantage of one is its reward, divergence included, over the mean of the others.
Ratios are clipped by token as in PPO. TRL clips those of whole replies. With one step a rollout no ratio is clipped,
and the gradients differ by a factor alone: ours is a mean over tokens, TRL's one over replies.
"""

from functools import partial
from typing import Any

from torch.optim import Optimizer

from internlm2_align.baselines.losses import leave_one_out
from internlm2_align.ppo.prompts import Query
from internlm2_align.ppo.rollout import Rollout
from internlm2_align.ppo.system import PPOSystem
from internlm2_align.roles.stand_ins import make_optimizer


class RLOOSystem(PPOSystem):
    """PPO with other advantages and no critic.

    Args:
        *args: Of `PPOSystem`.
        replies: To each prompt of a query.
        **keywords: Of `PPOSystem`. There is nothing to warm up, so ``settings.warmup_iterations`` must be 0.

    Raises:
        ValueError: If there is a warm-up, or no other reply to compare with.
    """

    def __init__(self, *args: Any, replies: int = 4, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        if replies < 2:
            raise ValueError(f"replies={replies} must be 2 or more: each is compared with the others.")
        if warmup := self.settings.warmup_iterations:
            raise ValueError(f"warmup_iterations={warmup} must be 0 in RLOO, which has no critic.")
        self.replies, self.estimate = replies, partial(leave_one_out, replies=replies)

    def configure_model(self) -> None:
        """Make the networks, once, without the critic."""
        super().configure_model()
        self.critic = None  # type: ignore[assignment]

    def configure_optimizers(self) -> list[Optimizer]:
        """That of the actor."""
        return [make_optimizer(self.actor, self.make_optimizers[0], self.weight_decay)]

    def training_step(self, query: Query, batch_idx: int) -> None:
        """One iteration, each prompt asked several times."""
        prompts = [prompt for prompt in query.prompts for _ in range(self.replies)]
        super().training_step(Query(prompts, query.texts), batch_idx)

    def _critic_step(self, rollout: Rollout) -> dict[str, float]:
        return {}

    def arguments(self) -> dict[str, Any]:
        """Those of PPO, and the number of replies."""
        return super().arguments() | {"replies": self.replies}
