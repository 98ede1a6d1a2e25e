"""A job of the command as a function, for jobs that run others: rounds of online RLHF call `ppo` and `reward`."""

from collections.abc import Mapping
from typing import Any

from hydra import compose
from hydra.utils import call
from internlm2_conf.continuing import check_continuing
from omegaconf import DictConfig


class Job:
    """``internlm2 NAME KEY=VALUE ...``, to be called with more keys.

    Args:
        name: Of the job.
        keys: Keys and values as they would be typed. A mapping may stand for dotted keys.
    """

    def __init__(self, name: str, keys: Mapping[str, Any] | None = None) -> None:
        self.name, self.words = name, [*words_of(keys or {})]
        # A mistyped key should not be found after hours.
        self.composed()

    def composed(self, **keys: Any) -> DictConfig:
        """The configuration of the job, with more keys."""
        return compose(self.name, [*self.words, *words_of(keys)])

    def __call__(self, **keys: Any) -> Any:
        """Run the job, or resume it where it was stopped under the same settings."""
        cfg = self.composed(**keys)
        check_continuing(cfg)
        return call(cfg.job)


def words_of(keys: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Overrides that set these keys.

    Args:
        keys: Nested mappings become dotted keys, an empty one is a value.
        prefix: Of the keys.
    """
    words: list[str] = []
    for key, value in keys.items():
        # A mark such as + belongs to the front of the whole key.
        mark = "+" if key.startswith("+") else ""
        name = f"{mark}{prefix}{key.removeprefix('+')}"
        nested = isinstance(value, Mapping) and value and key not in ("domains",)
        words += words_of(value, f"{name}.") if nested else [f"{name}={typed(value)}"]
    return words


def typed(value: Any) -> str:
    """A value as Hydra's grammar reads it back."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{typed(str(key))}:{typed(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(typed, value)) + "]"
    text = str(value).replace("\\'", "\\\\'").replace("'", "\\'")
    return f"'{text}'"
