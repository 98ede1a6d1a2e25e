"""Limits of PPO's figures, and what it means to be beyond them, in words."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L

from internlm2_align.ppo.system import PPOSystem

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limit:
    """Where a figure is worth a word.

    Attributes:
        means: What it means to be beyond the limit, and what helps.
        least: Warned of below it. None has no lower limit.
        most: Warned of above it. None has no upper limit.
    """

    means: str
    least: float | None = None
    most: float | None = None

    def broken_by(self, value: float) -> str | None:
        """The limit that a value is beyond, as words, or None."""
        if self.least is not None and value < self.least:
            return f"below {self.least:g}"
        return f"above {self.most:g}" if self.most is not None and value > self.most else None


LIMITS = {
    "kl": Limit("The actor is far from the reference. Raise kl_coefficient or lower the actor's rate", most=50.0),
    "entropy": Limit("The actor says almost always the same. Raise kl_coefficient or lower its rate", least=0.1),
    "clip_fraction": Limit("Steps are too large. Lower the actor's rate, or take fewer epochs", most=0.3),
    "approx_kl": Limit("The policy moves far within an iteration. Lower the actor's rate", most=0.1),
    "explained_variance": Limit("The critic is worse than the mean of returns. Give it more iterations", least=-0.5),
    "finished": Limit("Most replies are cut at max_new_tokens. Raise it, or look at what is said", least=0.5),
    "repetition": Limit("Replies repeat themselves. Look at them, the reward model may pay for it", most=0.5),
    "engine_ratio": Limit("The engine does not sample from what is trained", least=0.98, most=1.02),
}
"""By figure, without ``train/``. Rules of thumb, not the report's."""


class Health(L.Callback):
    """Warns when a figure of an iteration goes beyond its limit, and once more only after it was back.

    Args:
        limits: Changes of `LIMITS` by figure: arguments of `Limit`, of which those left out stay, or None for no limit.

    Attributes:
        limits: Those that hold.
        beyond: Figures that were beyond their limit in the last iteration.

    Raises:
        ValueError: If a new limit does not say what it means.
    """

    def __init__(self, limits: Mapping[str, Mapping[str, Any] | None] | None = None) -> None:
        self.limits, self.beyond = dict(LIMITS), set[str]()
        for name, change in (limits or {}).items():
            if change is None:
                self.limits.pop(name, None)
                continue
            known = vars(LIMITS[name]) if name in LIMITS else {}
            if "means" not in {**known, **change}:
                raise ValueError(f"limits of {name!r} must say what it means to be beyond them: means=TEXT.")
            self.limits[name] = Limit(**{**known, **change})

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the last iteration."""
        assert isinstance(pl_module, PPOSystem)
        last = pl_module.history[-1]
        for name, limit in self.limits.items():
            value = last.get(f"train/{name}")
            if value is None or (name == "explained_variance" and last["critic_only"]):
                continue  # a critic that has just begun explains nothing
            which = limit.broken_by(value)
            if which and name not in self.beyond and trainer.is_global_zero:
                log.warning(
                    "train/%s=%.4g in iteration %d is %s. %s.", name, value, last["iteration"], which, limit.means
                )
            (self.beyond.add if which else self.beyond.discard)(name)
