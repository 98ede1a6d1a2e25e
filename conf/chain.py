"""A chain of ordinary jobs, each run when what it depends on has changed: ``internlm2 reproduce``.

Every stage is ``internlm2 JOB overrides output=OUTPUT/STAGE``, and can be typed by hand. When it is done, its folder
gets a ``manifest.json``: the hash of its configuration, of the source code that it called, the builds of the stages it
read, and size and hash of every file it wrote. A stage is up to date when all of these still agree. Otherwise it and
whatever descends from it are built again. A stage that was killed keeps its folder and continues by the job's means.
"""

import json
import resource
import shlex
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from internlm2_conf.asked import as_new, as_text, typed
from internlm2_conf.continuing import check_continuing
from internlm2_conf.errors import STAGE
from internlm2_conf.hashing import code_hash, file_records, is_intact, targets, text_hash
from internlm2_conf.recipes import Recipes
from internlm2_conf.targets import call_job, leave_out
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Stage:
    """One job of the chain.

    Args:
        name: Name of the stage and of its folder.
        job: The command's job.
        overrides: Keys and values, as they would be typed.
        needs: Stages whose output it reads.
    """

    name: str
    job: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    needs: Sequence[str] = field(default_factory=tuple)

    @property
    def words(self) -> list[str]:
        """The overrides in Hydra's grammar."""
        return [as_new(f"{key}={typed(value)}") for key, value in self.overrides.items()]


def reproduce(stages: Mapping[str, Any], output: str, until: str | None = None) -> None:
    """Bring every stage up to date, in order.

    Args:
        stages: Name to ``{job, overrides, needs}``. A stage may only need earlier ones.
        output: Folder of the run, with one folder a stage.
        until: Last stage to run. None runs all.

    Raises:
        ValueError: If a stage needs one that does not come before it, or ``until`` is not a stage.
    """
    chain = [Stage(name, **spec) for name, spec in stages.items()]
    if until is not None and until not in stages:
        raise ValueError(f"until={until} must be one of {', '.join(stages)}.")
    console, root, start = Console(stderr=True), Path(output), time.perf_counter()
    builds: dict[str, str] = {}
    for number, stage in enumerate(chain, 1):
        missing = [need for need in stage.needs if need not in builds]
        if missing:
            raise ValueError(
                f"stage {stage.name} needs {missing[0]}, which is not before it. Change stages.{stage.name}.needs."
            )
        console.print(f"[bold]{number}/{len(chain)} {stage.name}[/bold]", highlight=False)
        try:
            builds[stage.name] = bring_up_to_date(stage, root, {need: builds[need] for need in stage.needs}, console)
        except Exception as error:
            error.add_note(f"{STAGE}{stage.name}")
            raise
        if stage.name == until:
            break
    console.print(f"done in {time.perf_counter() - start:.0f} s: {root}", highlight=False)


def bring_up_to_date(stage: Stage, root: Path, inputs: Mapping[str, str], console: Console) -> str:
    """Build a stage unless its manifest still holds.

    Args:
        stage: The stage.
        root: Folder of the run.
        inputs: Builds of the stages that it needs, by name.
        console: Where it is said what is done.

    Returns:
        The id of its build.
    """
    folder, recipes, words = root / stage.name, Recipes(), stage.words
    cfg = recipes.compose(stage.job, [*words, as_text(f"output={folder}")])
    cfg = leave_out(cfg, lambda: recipes.compose(stage.job, recipes.chosen(words)), words)
    made_of = ingredients(cfg, root, inputs)
    key = text_hash(json.dumps(made_of, sort_keys=True))
    old = read_manifest(folder / MANIFEST)
    if old and old["key"] == key and is_intact(folder, old["outputs"]):
        console.print("  unchanged", style="dim")
        return str(old["build"])
    command = f"  internlm2 {stage.job} {shlex.join(stage.words)} output={folder}"
    console.print(command, style="dim", highlight=False, markup=False, soft_wrap=True)
    draft = root / ".building" / f"{stage.name}.json"
    unfinished = read_manifest(draft)
    if not unfinished or unfinished["key"] != key:
        shutil.rmtree(folder, ignore_errors=True)
        unfinished = {"build": uuid.uuid4().hex, "key": key}
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(unfinished))
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    check_continuing(cfg)
    call_job(cfg)
    manifest = {
        "stage": stage.name,
        "build": unfinished["build"],
        "key": key,
        "command": ["internlm2", stage.job, *words],
        **made_of,
        "seconds": round(time.perf_counter() - start, 2),
        "peak_memory_mb_of_the_process_so_far": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "outputs": file_records(folder),
    }
    (folder / f".{MANIFEST}").write_text(json.dumps(manifest, indent=2) + "\n")
    (folder / f".{MANIFEST}").replace(folder / MANIFEST)
    draft.unlink()
    console.print(f"  {manifest['seconds']} s", style="dim", highlight=False)
    return str(manifest["build"])


def ingredients(cfg: DictConfig, root: Path, inputs: Mapping[str, str]) -> dict[str, Any]:
    """What a stage is made of.

    Args:
        cfg: Its configuration.
        root: Folder of the run.
        inputs: Builds of the stages that it needs, by name.

    Returns:
        Hashes of configuration and code, and these builds.
    """
    code = code_hash(targets(OmegaConf.to_container(cfg)))
    return {"config_hash": config_hash(cfg, root), "code_hash": code, "inputs": dict(inputs)}


def config_hash(cfg: DictConfig, root: Path) -> str:
    """Hash of the resolved configuration. A run that is moved to another folder keeps it.

    Args:
        cfg: The configuration.
        root: Folder of the run.

    Returns:
        SHA-256, in hexadecimal.
    """
    resolved = json.dumps(OmegaConf.to_container(cfg, resolve=True), sort_keys=True, default=str)
    return text_hash(resolved.replace(str(root), "OUTPUT"))


def read_manifest(file: Path) -> dict[str, Any] | None:
    """A manifest, or None where there is none."""
    if not file.is_file():
        return None
    manifest: dict[str, Any] = json.loads(file.read_text())
    return manifest


def verify(folder: str) -> None:
    """Hash every file of a run again and compare with its manifests.

    Args:
        folder: What ``internlm2 reproduce`` wrote.

    Raises:
        FileNotFoundError: If no manifest lies below the folder.
        ValueError: If a file is missing or changed.
    """
    files = sorted(Path(folder).glob(f"*/{MANIFEST}"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no {MANIFEST}. `internlm2 reproduce` writes one for each stage.")
    for file in files:
        manifest = json.loads(file.read_text())
        found = file_records(file.parent)
        for name, record in manifest["outputs"].items():
            if found.get(name) != record:
                state = "changed" if name in found else "missing"
                raise ValueError(
                    f"{file.parent / name} is {state} since it was built. `internlm2 reproduce` builds it again."
                )
        print(f"{file.parent}: {len(found)} files as built")
