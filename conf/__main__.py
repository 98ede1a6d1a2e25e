"""Run one job: ``internlm2 JOB [overrides]``, where JOB is a configuration at the top of this folder.

This is the whole composition root. It knows no package: the configuration names what to call.
"""

import copy
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from internlm2_conf.asked import Asked, read
from internlm2_conf.completion import complete
from internlm2_conf.continuing import check_continuing, record_of, refuse_another
from internlm2_conf.errors import SaidError, in_one_sentence, leave, sentence, wants_traceback
from internlm2_conf.hashing import code_hash, targets, text_hash
from internlm2_conf.help import job_help, nearest, overview
from internlm2_conf.keys import leaves
from internlm2_conf.kinds import refuse_empty
from internlm2_conf.quiet import without_advertisements, without_overrides_of_failed_jobs
from internlm2_conf.recipes import Recipes
from internlm2_conf.sweep import DONE
from internlm2_conf.targets import call_job, leave_out
from omegaconf import DictConfig, OmegaConf


@hydra.main(version_base="1.3", config_path="pkg://internlm2_conf", config_name=None)
def run(cfg: DictConfig) -> Any:
    """Call what the configuration's node ``job`` describes."""
    about = HydraConfig.get()
    recipes = Recipes(next((at.path for at in about.runtime.config_sources if at.provider == "command-line"), None))
    asked = Asked(about.job.config_name, OmegaConf.to_container(about.overrides.task), recipes=recipes)
    is_sweep = about.mode == RunMode.MULTIRUN
    try:
        cfg = leave_out(cfg, lambda: recipes.compose(about.job.config_name, recipes.chosen(asked.words)), asked.words)
        refuse_empty(asked, cfg)
        if is_sweep:
            # Each job of a sweep has a folder of its own.
            cfg.output = about.runtime.output_dir
        # A call resolves the references of what it gets.
        own = copy.deepcopy(cfg)
        return call_once(own, Path(own.output) / DONE) if is_sweep else call_ready(own)
    except Exception as error:
        if wants_traceback():
            raise
        if not is_sweep:
            leave(error, asked, cfg)
        # Hydra runs the other jobs before it raises the first error.
        print(f"{cfg.output}: {sentence(error, asked, cfg)}", file=sys.stderr)
        raise SaidError(f"the job in {cfg.output} failed. The other jobs of the sweep ran.") from None


def call_once(cfg: DictConfig, marker: Path) -> float | None:
    """Call a job of a sweep, unless the same configuration and code have finished it.

    A sweep that was stopped runs what is left when it is started again with the same ``hydra.sweep.dir``.

    Args:
        cfg: Configuration of the job.
        marker: File that says which configuration and code have finished, and with which figure.

    Returns:
        See `call_ready`.

    Raises:
        ValueError: If a job of another configuration has finished there.
    """
    values = OmegaConf.to_container(cfg)
    made_of = text_hash(json.dumps([values, code_hash(targets(values))]))
    done = json.loads(marker.read_text()) if marker.is_file() else {}
    if done.get("made_of") == made_of:
        print(f"{cfg.output}: done already")
        return done["figure"]
    if "settings" in done:
        refuse_another(cfg, done)
    marker.unlink(missing_ok=True)
    record = record_of(cfg)
    figure = call_ready(cfg)
    marker.write_text(json.dumps({"made_of": made_of, "figure": figure, **record}) + "\n")
    return figure


def call_ready(cfg: DictConfig) -> float | None:
    """Call the job, once everything that it must be told is there.

    Returns:
        The figure of its result that ``optimized_metric`` names, for sweepers that search.
    """
    values = OmegaConf.to_container(cfg)
    assert isinstance(values, dict)
    missing = [str(key) for key, value in values.items() if value == "???"]
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be given: {' '.join(f'{key}=...' for key in missing)}.")
    check_continuing(cfg)
    metric = OmegaConf.select(cfg, "optimized_metric")
    result = call_job(cfg)
    # Ranks other than the first may have no result.
    return None if metric is None or result == {} else figure_of(result, metric)


def figure_of(result: Any, name: str) -> float:
    """A number of what a job gives.

    Args:
        result: Nested mappings.
        name: Dotted, such as ``heldout.accuracy``. A key may have dots of its own.

    Raises:
        ValueError: If there is no such number.
    """
    figures = {key: value for key, value in leaves(result) if isinstance(value, (int, float))}
    if name not in figures:
        known = ", ".join(sorted(figures)) or "the figures of a job that gives some"
        raise ValueError(f"optimized_metric={name} must be one of {known}.")
    return float(figures[name])


def start(asked: Asked) -> None:
    """Hand a command to Hydra. A key that only the target of its node knows is marked as new."""
    asked = replace(asked, words=asked.recipes.direct(asked.job or "", asked.words))
    # Only this process's own words: child ranks are started from them again.
    sys.argv = [sys.argv[0], *asked.argv]
    try:
        with without_overrides_of_failed_jobs():
            run()
    except ConfigCompositionException as error:
        start(replace(asked, words=asked.recipes.mended(asked.job or "", asked.words, error)))


def wait_briefly() -> None:
    """Have OpenMP's threads give up their core soon after they begin to wait, unless the user has said how to wait.

    It is read when torch is loaded. Threads that wait actively for each other take the cores that other processes
    need. `conf/README.md` has figures.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ.update(OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="1000")


def main(arguments: list[str] | None = None) -> None:
    """The command. Mistakes end in one sentence and exit code 1. INTERNLM2_TRACEBACK=1 shows the traceback."""
    asked = read(sys.argv[1:] if arguments is None else arguments)
    # Users' own parts lie in modules of the current folder.
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append(str(Path.cwd()))
    wait_briefly()
    without_advertisements()
    # Else Hydra prints errors of composition by itself, in many lines.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if {"-sc", "--shell-completion"} & set(asked.options):
        return complete(asked, run)
    jobs = asked.recipes.jobs()
    if asked.job is None:
        print(overview(asked.recipes))
        sys.exit(0 if asked.wants_help else 2)
    if asked.job not in jobs:
        likely = nearest(asked.job, jobs)
        sys.exit(f"internlm2: there is no job {asked.job!r}{likely}. The jobs are {', '.join(jobs)}.")
    if asked.wants_help:
        return print(job_help(asked.job, asked.recipes))
    in_one_sentence(lambda: start(asked), asked)
    return None


if __name__ == "__main__":
    main()
