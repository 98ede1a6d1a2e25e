"""What happens when a sweep is over: a plain function is called with the sweep's folder.

hydra:
callbacks:
table:
_target_: internlm2_conf.sweep.AfterSweep
call: {_target_: internlm2_align.reward.ablation.summarise, _partial_: true}
"""

from collections.abc import Callable
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class AfterSweep(Callback):
    """Calls a function with the folder of a finished sweep; single runs are left alone.

    Args:
        call: The function.
    """

    def __init__(self, call: Callable[[str], object]) -> None:
        self.call = call

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Call it."""
        self.call(config.hydra.sweep.dir)
