"""The price of divergence: fixed as in the report, or steered so that the divergence keeps to a target."""

from internlm2_align.ppo.rewards import adapted
from internlm2_align.ppo.settings import PPOSettings


class KLPrice:
    """The KL coefficient of a run.

    Args:
        settings: Of the run. With ``kl_target`` the coefficient moves.

    Attributes:
        coefficient: Of the current iteration. Checkpoints hold it.
        responses: Of the current iteration, over all ranks.
    """

    def __init__(self, settings: PPOSettings) -> None:
        self.settings, self.coefficient, self.responses = settings, settings.kl_coefficient, 0

    def note(self, kl: float) -> dict[str, float]:
        """Settle the coefficient of the next iteration.

        Args:
            kl: Of this iteration by estimate k1, in nats per response.

        Returns:
            ``kl_coefficient``: that of this iteration.
        """
        paid, settings = self.coefficient, self.settings
        if settings.kl_target is not None:
            self.coefficient = adapted(
                paid, kl, target=settings.kl_target, responses=self.responses, horizon=settings.kl_horizon
            )
        return {"kl_coefficient": paid}
