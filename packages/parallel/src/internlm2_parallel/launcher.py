"""Start the other ranks of a node from one plain command line.

Lightning re-runs ``sys.argv`` for each rank. Under Hydra's ``-m`` that would repeat the whole sweep in every child,
and a directory named after the time would differ. Here a child is told exactly this job: its primary config, its
overrides, its output directory, and no sweep.

Ranks that torchrun or srun started are taken as they are. Nothing is launched then.

In a sweep one process runs job after job, and each job starts ranks of its own: what the job before left in the
environment is taken back first.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch.distributed as dist

from internlm2_parallel.lightning_private import HookedLauncher
from internlm2_parallel.together import Watch, end, failure_of, follow

SWEEP_ONLY = (
    "hydra.mode",
    "hydra/launcher",
    "hydra.launcher",
    "hydra.sweep",
    "hydra/sweeper",
    "hydra.sweeper",
    "hydra.run.dir",
)


RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
OWNER = "INTERNLM2_RANKS_OF"
"""Names the process and job whose ranks the rendezvous variables describe."""
FIRST = "INTERNLM2_FIRST_RANK"
"""Tells a rank the process that has started it."""


class RankLauncher(HookedLauncher):
    """Lightning's subprocess launcher, safe under Hydra's single runs and sweeps.

    Attributes:
        check: Refuses the module of a trainer before any rank is started.
    """

    watch: Watch | None = None
    check: Callable[[Any], None] | None = None

    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Start the other ranks and call a function here. Where it fails they are ended: they would wait for this rank.

        Args:
            function: Called on this rank.
            args: Of it.
            kwargs: Of it, and the trainer.

        Raises:
            ChildProcessError: If a collective failed here because another rank is gone.
        """
        if self.check is not None:
            self.check(kwargs["trainer"])
        try:
            return super().launch(function, *args, **kwargs)
        except SystemExit:  # All ranks leave together.
            raise
        except BaseException as error:
            # A connection is lost a moment before the process is gone.
            failed = failure_of(self.procs, patience_s=1.0) if isinstance(error, RuntimeError) else None
            self.end_children()
            if failed is not None:
                raise ChildProcessError(f"{failed} ({str(error).partition(chr(10))[0]})") from error
            raise

    def end_children(self) -> None:
        """End the ranks that this one has started."""
        if self.watch is not None:
            self.watch.stopped.set()
        end(self.procs)

    def start_children(self) -> None:
        """Start this very Hydra job once for each other rank, or what Lightning would start where there is none."""
        mine = owner()
        os.environ[FIRST] = str(os.getpid())
        try:
            if (command := hydra_command()) is None:
                super().start_children()
            else:
                self.start_job(command)
        finally:
            del os.environ[FIRST]
        self.watch = Watch(self.procs, is_current=lambda: owner() == mine)
        self.watch.start()

    def start_job(self, command: Sequence[str]) -> None:
        """Start a command once for each other rank.

        Args:
            command: Its words.
        """
        from hydra.utils import get_original_cwd

        self.refuse_second_start()
        environment = self.cluster_environment
        os.environ.update(
            {
                "MASTER_ADDR": environment.main_address,
                "MASTER_PORT": str(environment.main_port),
                "NODE_RANK": str(environment.node_rank()),
                "LOCAL_RANK": str(environment.local_rank()),
                "WORLD_SIZE": str(self.num_processes * self.num_nodes),
                OWNER: owner(),
            }
        )
        # Where the command was typed. Hydra may have changed into the output folder.
        for local_rank in range(1, self.num_processes):
            child = {**os.environ, "LOCAL_RANK": str(local_rank)}
            self.procs.append(subprocess.Popen(command, env=child, cwd=get_original_cwd()))


def owner() -> str:
    """This process and its current Hydra job."""
    return f"{os.getpid()}:{job_folder() or ''}"


def job_folder() -> str | None:
    """The output folder of the current Hydra job. None outside Hydra."""
    try:
        from hydra.core.hydra_config import HydraConfig
    except ImportError:
        return None
    return HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else None


def follow_the_first_rank() -> None:
    """Leave with the rank that has started this one, which may be gone by now."""
    if first := os.environ.pop(FIRST, None):  # What this rank starts is not told.
        follow(int(first))


def forget_earlier_job() -> None:
    """Leave the process group and the rendezvous of an earlier job of the sweep that this process runs."""
    left = os.environ.get(OWNER, "")
    if not left.startswith(f"{os.getpid()}:") or left == owner():
        return
    if dist.is_initialized():
        dist.destroy_process_group()
    for name in (*RENDEZVOUS, OWNER):
        os.environ.pop(name, None)


def hydra_command() -> list[str] | None:
    """The command line that runs this very Hydra job once more. None outside Hydra."""
    if job_folder() is None:
        return None
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    assert hydra.job.config_name is not None
    # A sweep moves each job's output into a folder of its own. A child runs singly, so it has to be told.
    moved = [f"++output={quoted(hydra.runtime.output_dir)}"] if hydra.mode == RunMode.MULTIRUN else []
    return [
        *program(),
        *_job_words(sys.argv[1:], hydra.job.config_name),
        *hydra.overrides.task,
        *moved,
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


def _job_words(arguments: Sequence[str], config_name: str) -> list[str]:
    """What comes before the overrides: the job's name, as a word or as Hydra's flag, and flags with a folder."""
    words = [arguments[0]] if arguments and arguments[0] == config_name else [f"--config-name={config_name}"]
    for index, argument in enumerate(arguments):
        for flag in ("--config-dir", "--config-path", "-cd", "-cp"):
            if argument == flag:
                words += [flag, arguments[index + 1]]
            elif argument.startswith(f"{flag}="):
                words.append(argument)
    return words


def quoted(value: str) -> str:
    """A string in the quotes of Hydra's override grammar, in which nothing refers to a key."""
    escaped = value.replace("\\'", "\\\\'").replace("'", "\\'").replace("${", "\\${")
    return f"'{escaped}'"
