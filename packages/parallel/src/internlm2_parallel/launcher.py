"""Start the other ranks of a node from one plain command line.

Lightning re-runs ``sys.argv`` for each rank. Under Hydra's ``-m`` that would repeat the whole sweep in every child, and a
directory named after the time would differ. Here a child is told exactly this job: its primary config, its overrides, its
output directory, and no sweep.

Ranks that torchrun or srun started are taken as they are; nothing is launched then.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

SWEEP_ONLY = (
    "hydra.mode",
    "hydra/launcher",
    "hydra.launcher",
    "hydra.sweep",
    "hydra/sweeper",
    "hydra.sweeper",
    "hydra.run.dir",
)


class RankLauncher(_SubprocessScriptLauncher):
    """Lightning's subprocess launcher, safe under Hydra's single runs and sweeps."""

    def _call_children_scripts(self) -> None:
        command = hydra_command()
        if command is None:
            super()._call_children_scripts()
            return
        self._check_can_spawn_children()
        environment = self.cluster_environment
        os.environ.update(
            MASTER_ADDR=environment.main_address,
            MASTER_PORT=str(environment.main_port),
            NODE_RANK=str(environment.node_rank()),
            LOCAL_RANK=str(environment.local_rank()),
            WORLD_SIZE=str(self.num_processes * self.num_nodes),
        )
        for local_rank in range(1, self.num_processes):
            child = {**os.environ, "LOCAL_RANK": str(local_rank)}
            self.procs.append(subprocess.Popen(command, env=child, cwd=original_folder()))


def original_folder() -> str:
    """The folder in which the user typed the command; Hydra may have changed into the output folder."""
    from hydra.utils import get_original_cwd

    return str(get_original_cwd())


def hydra_command() -> list[str] | None:
    """The command line that runs this very Hydra job once more; None outside Hydra."""
    try:
        from hydra.core.hydra_config import HydraConfig
    except ImportError:
        return None
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    return [
        *program(),
        *job_words(sys.argv[1:], hydra.job.config_name),
        *hydra.overrides.task,
        *(override for override in hydra.overrides.hydra if not override.lstrip("+~").startswith(SWEEP_ONLY)),
        f"hydra.run.dir={quoted(hydra.runtime.output_dir)}",
        "hydra.mode=RUN",
        "hydra.output_subdir=null",
    ]


def program() -> list[str]:
    """Interpreter and script, or ``-m module``, of the running program."""
    import __main__

    spec = getattr(__main__, "__spec__", None)
    if spec is None:
        return [sys.executable, os.path.abspath(sys.argv[0])]  # noqa: PTH100
    return [sys.executable, "-m", spec.name.removesuffix(".__main__")]


def job_words(arguments: Sequence[str], config_name: str) -> list[str]:
    """What stands before the overrides: the job's name, as a word or as Hydra's flag, and flags with a folder."""
    words = [arguments[0]] if arguments and arguments[0] == config_name else [f"--config-name={config_name}"]
    for index, argument in enumerate(arguments):
        for flag in ("--config-dir", "--config-path", "-cd", "-cp"):
            if argument == flag:
                words += [flag, arguments[index + 1]]
            elif argument.startswith(f"{flag}="):
                words.append(argument)
    return words


def quoted(value: str) -> str:
    """A string in the quotes of Hydra's override grammar."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
