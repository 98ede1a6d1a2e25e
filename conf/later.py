"""A job of the command as a function, for jobs that run others: rounds of online RLHF call `ppo` and `reward`.

A job on one rank is called in this process. One on several ranks is a command of its own: its ranks live as long as it
does, and this process works alone between them.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from internlm2_conf.asked import Asked, typed
from internlm2_conf.continuing import check_continuing
from internlm2_conf.errors import SaidError, sentence
from internlm2_conf.recipes import Recipes
from internlm2_conf.targets import call_job, leave_out
from omegaconf import DictConfig, OmegaConf


class Job:
    """``internlm2 NAME KEY=VALUE ...``, to be called with more keys.

    Args:
        name: Name of the job.
        keys: Keys and values as they would be typed. Nested mappings are dotted keys.
        inside: More of them, for keys of the options that ``keys`` choose.

    Raises:
        SaidError: If the job has no such key.
        ValueError: If the job asks for several nodes.
    """

    def __init__(
        self, name: str, keys: Mapping[str, Any] | None = None, inside: Mapping[str, Any] | None = None
    ) -> None:
        self.name, self.recipes = name, Recipes()
        self.plain = self.recipes.compose(name)
        self.words = [*self.words_of(keys or {})]
        # A mistyped key should not be found after hours.
        try:
            self.plain = self.recipes.compose(name, self.recipes.chosen(self.words))
            self.words += self.words_of(inside or {})
            trainer = self.composed().get("trainer")
        except HydraException as error:
            raise SaidError(f"{name}: {sentence(error, Asked(name, self.words, recipes=self.recipes))}") from None
        if trainer is not None and trainer.num_nodes != 1:
            raise ValueError(
                f"num_nodes={trainer.num_nodes} of {name} must be 1 inside another job, which works on one node "
                f"between its stages. `internlm2 {name}` runs on several nodes."
            )

    def composed(self, **keys: Any) -> DictConfig:
        """The configuration of the job, with more keys."""
        words, recipes = [*self.words, *self.words_of(keys)], self.recipes
        cfg = recipes.compose(self.name, words)
        return leave_out(cfg, lambda: recipes.compose(self.name, recipes.chosen(words)), words)

    def __call__(self, **keys: Any) -> Any:
        """Run the job, or resume it where it was stopped under the same settings."""
        cfg = self.composed(**keys)
        if "trainer" in cfg and cfg.trainer.devices != 1:
            return self._command([*self.words, *self.words_of(keys)])
        check_continuing(cfg)
        return call_job(cfg)

    def _command(self, words: Sequence[str]) -> None:
        """Run the job as a command, whose errors it prints itself.

        Args:
            words: Overrides.

        Raises:
            SaidError: If it fails.
        """
        sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
        own = [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]
        # Under Slurm this process is one task. Lightning would hold the ranks of the job against that number.
        environment = {name: value for name, value in os.environ.items() if name != "SLURM_NTASKS"}
        command = [sys.executable, "-m", "internlm2_conf", self.name, *own, *words]
        with subprocess.Popen(command, env=environment) as child:
            try:
                code = child.wait()
            except BaseException:
                child.terminate()
                raise
        if code:
            raise SaidError(f"{self.name} failed with exit code {code}. It has said why.")

    def words_of(self, keys: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
        """Overrides that set these keys.

        Args:
            keys: A mapping is dotted keys where the job has a mapping under that key too.
            prefix: What the keys are below, with a dot at its end.

        Yields:
            ``KEY=VALUE``.
        """
        for key, value in keys.items():
            name = f"{prefix}{key}"
            is_node = OmegaConf.is_dict(OmegaConf.select(self.plain, name, throw_on_missing=False))
            if isinstance(value, Mapping) and is_node:
                yield from self.words_of(value, f"{name}.")
            else:
                yield f"{name}={typed(value)}"
