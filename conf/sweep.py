"""What a sweep is held to before it starts, and what happens when it is over: a function is called with its jobs.

hydra:
  callbacks:
    table:
      _target_: internlm2_conf.sweep.AfterSweep
      call: {_target_: internlm2_align.sweeps.reward.summarise, _partial_: true}
      needs: [heldout, heldout_share]
"""

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from internlm2_conf.asked import Asked
from internlm2_conf.errors import in_one_sentence
from omegaconf import DictConfig, OmegaConf

DONE = "done.json"
"""What a finished job of a sweep leaves in its folder."""


class AfterSweep(Callback):
    """Calls a function with the folder of a sweep that is over and the folders of its jobs.

    Hydra turns what a callback raises into a warning, hence the exits.

    Args:
        call: The function. It gets the sweep's folder and those of its finished jobs, in order.
        needs: Keys of which one must be set, or the function would have nothing to show.
    """

    def __init__(self, call: Callable[[Path, Sequence[Path]], object], needs: Sequence[str] = ()) -> None:
        self.call, self.needs = call, needs

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a single run in which nothing of what is swept is chosen."""
        chosen = parsed(OmegaConf.to_container(config.hydra.overrides.task))
        swept = config.hydra.sweeper.params
        if lacking := [key for key in swept if key not in chosen]:
            words = " ".join(f"{key}={swept[key]}" for key in lacking)
            sys.exit(
                f"internlm2 {config.hydra.job.config_name}: this experiment is a sweep over {words}; add -m to run it, "
                f"or choose {' '.join(f'{key}=...' for key in lacking)} for a single run."
            )

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a sweep that would have nothing to show."""
        if self.needs and not any(OmegaConf.select(config, key) for key in self.needs):
            sys.exit(
                f"internlm2 {config.hydra.job.config_name}: this sweep compares held-out figures and would have none; "
                f"set {' or '.join(f'{key}=...' for key in self.needs)}."
            )

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Call it. Folders that an earlier sweep has left do not count."""
        folder, count = Path(config.hydra.sweep.dir), count_jobs(config)
        jobs = [folder / str(number) for number in range(count)]
        done = [job for job in jobs if (job / DONE).is_file()]
        if len(done) < count:
            print(f"{folder}: {count - len(done)} of {count} jobs have not finished", file=sys.stderr)
        in_one_sentence(lambda: self.call(folder, done), Asked(config.hydra.job.config_name))


def count_jobs(config: DictConfig) -> int:
    """Jobs of a sweep: the product of what its keys are swept over."""
    swept = [f"{key}={values}" for key, values in config.hydra.sweeper.params.items()]
    overrides = parsed([*swept, *OmegaConf.to_container(config.hydra.overrides.task)]).values()
    return math.prod(len(list(one.sweep_string_iterator())) for one in overrides if one.is_sweep_override())


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """Overrides by key. Of two of one key the later one counts."""
    overrides = OverridesParser.create().parse_overrides(list(words))
    return {override.get_key_element().lstrip("+~"): override for override in overrides}
