"""What PPO measures between its iterations: replies to held-out prompts, always with the same random numbers."""

from functools import partial
from typing import Any

from internlm2_align.finite import check_figures
from internlm2_align.ppo.audit import Judge, SampleMeans
from internlm2_align.ppo.networks import PPONetworks
from internlm2_align.ppo.prompts import Query
from internlm2_align.ppo.rewards import token_kl
from internlm2_align.ppo.rollout import Rollout
from internlm2_align.ppo.sampling import Scored

BESIDE_TRAINING = 500_000
"""Added to the seed, so that held-out prompts are not answered with the random numbers of an iteration."""


class AnswersHeldOut(PPONetworks):
    """Networks of PPO that answer held-out prompts in validation, test and prediction.

    Attributes:
        iteration: Iterations done.
        history: Figures of iterations and validations.
        judge: Looks at held-out replies, or None.
        means: Of the figures, by domain.
    """

    iteration: int
    history: list[dict[str, Any]]
    judge: Judge | None
    means: SampleMeans

    def sample(self, query: Query, seed: int) -> Scored:
        """Sample and score one response to each prompt."""
        raise NotImplementedError

    def _judge(self, scored: Scored, learns: bool = False) -> Rollout:
        raise NotImplementedError

    def validation_step(self, query: Query, batch_idx: int) -> None:
        """Sample replies to held-out prompts, always from the same random numbers, and look at them."""
        scored = self.sample(query, seed=self.seed * 1_000_003 + BESIDE_TRAINING + batch_idx)
        rollout = self._judge(scored)
        kl_B = token_kl(rollout.logprobs, rollout.reference_logprobs, rollout.mask).sum(1).tolist()
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
        return self.sample(query, seed=self.seed * 1_000_003 + BESIDE_TRAINING + batch_idx).texts

    def _log_means(self, stage: str) -> dict[str, float]:
        reduce = partial(self.trainer.strategy.reduce, reduce_op="sum")
        found = {f"{stage}/{name}": value for name, value in self.means.compute(reduce).items()}
        check_figures(found, f"after iteration {self.iteration}")
        self.means.reset()
        self.log_dict(found, sync_dist=True)  # Ranks agree already. Lightning warns of what it does not reduce.
        return found
