"""Run one job: ``internlm2 JOB [overrides]``, where JOB is a configuration at the top of this folder.

This is the whole composition root. It knows no package: the configuration names what to call.
"""

import json
import os
import sys
from pathlib import Path

import hydra
from hydra import initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import call
from internlm2_conf.continuing import check_continuing
from internlm2_conf.errors import in_one_sentence
from internlm2_conf.hashing import code_hash, targets, text_hash
from internlm2_conf.help import job_help, job_names, nearest, overview
from internlm2_conf.overrides import quoted, with_new_keys
from internlm2_conf.sweep import DONE
from omegaconf import DictConfig, OmegaConf

TEXTS = ("prompt", "system")
"""Keys whose values are plain text: ``prompt="12 + 7 = ?"``."""


@hydra.main(version_base="1.3", config_path="pkg://internlm2_conf", config_name=None)
def run(cfg: DictConfig) -> None:
    """Call what the configuration's node ``job`` describes."""
    job = HydraConfig.get().job.config_name
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        # Each job of a sweep has a folder of its own.
        cfg.output = HydraConfig.get().runtime.output_dir
        in_one_sentence(lambda: call_once(cfg, Path(cfg.output) / DONE), job)
    else:
        in_one_sentence(lambda: call_job(cfg), job)


def call_once(cfg: DictConfig, marker: Path) -> None:
    """Call a job of a sweep, unless the same configuration and code have finished it.

    A sweep that was stopped goes on with what is left when it is started again with the same ``hydra.sweep.dir``.
    """
    values = OmegaConf.to_container(cfg)
    made_of = text_hash(json.dumps([values, code_hash(targets(values))]))
    if marker.is_file() and json.loads(marker.read_text()) == made_of:
        print(f"{cfg.output}: done already")
        return
    marker.unlink(missing_ok=True)
    call_job(cfg)
    marker.write_text(json.dumps(made_of) + "\n")


def call_job(cfg: DictConfig) -> None:
    """Call the job, once everything that it must be told is there."""
    values = OmegaConf.to_container(cfg)
    assert isinstance(values, dict)
    missing = [str(key) for key, value in values.items() if value == "???"]
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be given: {' '.join(f'{key}=...' for key in missing)}.")
    check_continuing(cfg)
    call(cfg.job)


def main(arguments: list[str] | None = None) -> None:
    """The command. Mistakes end in one sentence and exit code 1; INTERNLM2_TRACEBACK=1 shows the traceback."""
    words = sys.argv[1:] if arguments is None else arguments
    job, rest = (words[0], words[1:]) if words and not words[0].startswith("-") else (None, words)
    if job is None and not any(word.startswith(("--config-name", "-cn")) for word in rest):
        print(overview())
        sys.exit(0 if {"-h", "--help"} & set(rest) else 2)
    if job is not None and job not in job_names():
        sys.exit(
            f"internlm2: there is no job {job!r}{nearest(job, job_names())}; the jobs are {', '.join(job_names())}."
        )
    if job is not None and {"-h", "--help"} & set(rest):
        print(job_help(job))
        return
    rest = [as_text(word) for word in rest]
    if job is not None:
        with initialize_config_module("internlm2_conf", version_base="1.3"):
            rest = with_new_keys(job, rest)
    if "--cfg" in rest and "--resolve" not in rest:
        rest = ["--resolve", *rest]
    if any(word.startswith("hydra/launcher=") for word in rest) and not {"-m", "--multirun", "--cfg"} & set(rest):
        # Hydra's launchers start the jobs of a sweep: a single run is a sweep of one.
        rest = ["-m", *rest]
    # Only this process's own words: child ranks are started from them again.
    sys.argv = [sys.argv[0], *([f"--config-name={job}"] if job else []), *rest]
    # Else Hydra prints errors of composition by itself, in many lines.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    in_one_sentence(run, job)


def as_text(word: str) -> str:
    """An override whose value people write as they speak, in the quotes that Hydra's grammar wants around it."""
    key, _, value = word.partition("=")
    if key not in TEXTS or not value or value[0] in "'\"":
        return word
    return f"{key}={quoted(value)}"


if __name__ == "__main__":
    main()
