"""A job of the command as a function, for jobs that run others: rounds of online RLHF call `ppo` and `reward`."""

from collections.abc import Iterator, Mapping
from typing import Any

from hydra import compose
from hydra.utils import call
from internlm2_conf.continuing import check_continuing
from internlm2_conf.overrides import typed, with_new_keys
from omegaconf import DictConfig, OmegaConf


class Job:
    """``internlm2 NAME KEY=VALUE ...``, to be called with more keys.

    Args:
        name: Of the job.
        keys: Keys and values as they would be typed. Nested mappings stand for dotted keys.

    Raises:
        ValueError: If the job asks for several ranks.
    """

    def __init__(self, name: str, keys: Mapping[str, Any] | None = None) -> None:
        self.name, self.plain = name, compose(name)
        self.words = [*self.words_of(keys or {})]
        # A mistyped key should not be found after hours.
        trainer = self.composed().trainer
        if trainer.devices != 1 or trainer.num_nodes != 1:
            raise ValueError(
                f"devices={trainer.devices} and num_nodes={trainer.num_nodes} of {name} must be 1 inside another job, "
                f"which works alone between its stages. `internlm2 {name}` runs on several ranks."
            )

    def composed(self, **keys: Any) -> DictConfig:
        """The configuration of the job, with more keys."""
        return compose(self.name, with_new_keys(self.name, [*self.words, *self.words_of(keys)]))

    def __call__(self, **keys: Any) -> Any:
        """Run the job, or resume it where it was stopped under the same settings."""
        cfg = self.composed(**keys)
        check_continuing(cfg)
        return call(cfg.job)

    def words_of(self, keys: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
        """Overrides that set these keys.

        Args:
            keys: A mapping stands for dotted keys where the job has a mapping under that key too.
            prefix: Of the keys.
        """
        for key, value in keys.items():
            name = f"{prefix}{key}"
            is_node = OmegaConf.is_dict(OmegaConf.select(self.plain, name, throw_on_missing=False))
            if isinstance(value, Mapping) and is_node:
                yield from self.words_of(value, f"{name}.")
            else:
                yield f"{name}={typed(value)}"
