"""Where configurations are found: in this folder, and in one of the user's own (``--config-dir``)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException
from internlm2_conf.keys import direct
from internlm2_conf.targets import HYDRAS, takes
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parent


@dataclass(frozen=True)
class Recipes:
    """The jobs and the groups of options that a command may name.

    Args:
        folder: The user's own, in the layout of ours. None where there is none.
    """

    folder: str | None = None

    def folders(self) -> list[Path]:
        """Ours, and the user's own."""
        return [CONF, *([Path(self.folder)] if self.folder else [])]

    def jobs(self) -> dict[str, Path]:
        """Job to file: the configurations at the top of a folder that have a node ``job``."""
        files = [file for folder in self.folders() for file in sorted(folder.glob("*.yaml"))]
        return {file.stem: file for file in files if re.search(r"^job:", file.read_text(encoding="utf-8"), re.M)}

    def groups(self) -> dict[str, list[str]]:
        """Options of every group, sorted."""
        found: dict[str, list[str]] = {}
        for folder in self.folders():
            for file in sorted(file.relative_to(folder) for file in folder.rglob("*.yaml")):
                if len(file.parts) > 1:
                    found.setdefault("/".join(file.parts[:-1]), []).append(file.stem)
        return {group: sorted(set(options)) for group, options in sorted(found.items())}

    def text(self, group: str, option: str) -> str:
        """An option as it is written."""
        files = [folder / group / f"{option}.yaml" for folder in self.folders()]
        return next((file.read_text(encoding="utf-8") for file in files if file.is_file()), "")

    def compose(self, job: str, words: Sequence[str] = (), with_hydra: bool = False) -> DictConfig:
        """Compose a job, inside a run of Hydra or without one.

        Args:
            job: Name of the job.
            words: Overrides. Arguments that only a target knows are marked as new.
            with_hydra: Whether the result has Hydra's own node.
        """
        words = self.direct(job, words)
        try:
            if GlobalHydra.instance().is_initialized():
                return compose(job, list(words), with_hydra)
            own = Path(self.folder).resolve() if self.folder else None
            if own is not None and (own / f"{job}.yaml").is_file():
                with initialize_config_dir(str(own), version_base="1.3"):
                    return compose(job, [*words, "hydra.searchpath=['pkg://internlm2_conf']"], with_hydra)
            path = [f"hydra.searchpath=['file://{own}']"] if own else []
            with initialize_config_module("internlm2_conf", version_base="1.3"):
                return compose(job, [*words, *path], with_hydra)
        except ConfigCompositionException as error:
            return self.compose(job, self.mended(job, words, error), with_hydra)

    def direct(self, job: str, words: Sequence[str]) -> list[str]:
        """Overrides of the keys that are really set, see `keys.direct`.

        Args:
            job: Name of the job.
            words: Overrides. Those of three names or more may be below a reference.
        """
        if all(word.partition("=")[0].partition("@")[0].count(".") < 2 for word in words):
            return list(words)
        try:
            node = OmegaConf.to_container(self.compose(job, self.chosen(words, added=True)))
        except HydraException:
            return list(words)  # What is wrong with the options is said when the job itself is composed.
        return [direct(word, node) for word in words]

    def mended(self, job: str, words: Sequence[str], error: ConfigCompositionException) -> list[str]:
        """The words with the refused one marked as new, where the target of its node takes it.

        A key without a dot may be an argument of the job itself, or of the only node that takes one of that name. So
        recipes need not repeat what signatures say.

        Args:
            job: Name of the job.
            words: Overrides of which Hydra refused one.
            error: What Hydra said.

        Returns:
            The overrides to compose with.

        Raises:
            ConfigCompositionException: If the key is unknown to the target as well.
        """
        refused = refused_key(error)
        node, _, argument = refused.rpartition(".")
        if refused not in [word.partition("=")[0] for word in words]:
            raise error
        others = [word for word in words if word.partition("=")[0] != refused]
        classes = [word for word in others if word.partition("=")[0].endswith("._target_")]
        base = self.compose(job, [*self.chosen(others, added=True), *classes])
        if node:
            targets = {node: OmegaConf.select(base, f"{node}._target_")}
        else:
            raw = OmegaConf.to_container(base)
            assert isinstance(raw, dict)
            found = {
                str(key): value["_target_"]
                for key, value in raw.items()
                if isinstance(value, dict) and "_target_" in value
            }
            targets = {"job": found.pop("job", None), **found}
        takers = [
            at
            for at, target in targets.items()
            if target and (argument in HYDRAS or takes(target, argument, counts_any=bool(node)))
        ]
        if not takers or (len(takers) > 1 and takers[0] != "job"):
            raise error
        return [
            f"++{takers[0]}.{argument}={word.partition('=')[2]}" if word.partition("=")[0] == refused else word
            for word in words
        ]

    def chosen(self, words: Sequence[str], added: bool = False) -> list[str]:
        """The overrides that choose an option of a group.

        Args:
            words: Overrides.
            added: Whether those that begin with ``+`` count, as experiments do.
        """
        groups = self.groups()
        signs = "+" if added else ""
        return [word for word in words if word.partition("=")[0].partition("@")[0].lstrip(signs) in groups]


def refused_key(error: BaseException) -> str:
    """The key that Hydra could not override, or nothing."""
    found = re.search(r"Could not override '([^']+)'", str(error))
    return found[1] if found else ""
