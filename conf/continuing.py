"""Whether a run may resume what an earlier one left in its output folder.

Training resumes from a checkpoint whatever the configuration says, so that other settings would be ignored and be
recorded nevertheless. A job whose recipe names what it resumes from (``resumes_from``) leaves ``settings.json`` there:
its settings as they would be typed, and hashes of the files and folders that it reads. It resumes only where both still
agree. What merely says where and how fast a run is computed, and for how long, may change.
"""

import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from internlm2_conf.hashing import contents_of, hash_of, sampled_hash
from internlm2_conf.keys import is_below, leaves, texts
from omegaconf import DictConfig, OmegaConf

RECORD = "settings.json"

FREE = (
    # where it runs and what it writes beside the model
    *("output", "paths", "callbacks", "logger", "checkpoint_every", "validation", "data.num_workers", "resume"),
    "optimized_metric",
    # who labels, which every label says, and how many labels a round waits for
    *("annotator", "labels.least"),
    # devices, and how long the same schedule is followed
    *("trainer", "strategy", "layout"),
    # which processes hold the models of PPO, and what samples there
    *("roles._target_", "roles.resources", "roles.offloaded", "roles.sample_with", "roles.group_size"),
    # memory and speed: the same sums in another order
    *("module.micro_batch_rows", "module.recompute", "module.recompute_every", "module.compile"),
    *("model.attend", "model.max_logits", "model.head_loss", "batches.row_tokens", "settings.micro_batch_tokens"),
)
"""Keys that may change, with all below them."""

HELD = ("trainer.precision", "trainer.max_epochs")
"""Exceptions among them; the learning rate depends on the passes where they count the steps."""

CHANGEABLE = (
    *("phase.peak_lr", "phase.warmup_steps", "phase.steps", "phase.batch_rows", "schedule", "batches.batch_rows"),
    *("optimizer", "actor_optimizer", "critic_optimizer", "batches.ramp", "module.weight_decay"),
    *("module.max_grad_norm", "module.spikes", "module.most_left_out", "phases.phases.*.peak_lr"),
    *("phases.phases.*.warmup_steps", "phases.phases.*.steps", "phases.phases.*.batches.batch_rows"),
)
"""Keys that may change where ``resume.change`` names them, or one below them: learning rate, schedule, batch."""

MOST_NAMED = 6
"""Differences that an error names."""


def check_continuing(cfg: DictConfig) -> None:
    """Record what a run is made of, or compare it with the record of the run that it would resume.

    Args:
        cfg: Configuration of the job. One without ``resumes_from`` always starts anew and is left alone.

    Raises:
        ValueError: If there is something to resume, and other settings or inputs have led to it.
    """
    if "resumes_from" not in cfg:
        return None
    folder, found = Path(cfg.output), Path(cfg.resumes_from)
    here = record_of(cfg)
    # Beside checkpoints that are elsewhere: a run that they are shared with is compared too.
    home = folder if is_inside(found, folder.resolve()) else found.parent
    record = home / RECORD
    named = changeable(OmegaConf.select(cfg, "resume.change") or [])
    if not any(path.exists() for path in found.parent.glob(found.name)):  # no link that leads nowhere
        return write(record, here)
    if not record.is_file():
        print(f"{home} holds no {RECORD}: resumes without comparing settings.", file=sys.stderr)
        return write(record, here)
    earlier = json.loads(record.read_text())
    changed = differences(earlier, here)
    if refused := {key: said for key, said in changed.items() if not any(is_below(key, name) for name in named)}:
        raise ValueError(refusal(home, found, refused))
    if changed:
        print(f"{home} resumes with {'; '.join(changed.values())}.", file=sys.stderr)
        old = {key: earlier["settings"].get(key) for key in changed}
        write(record, {**here, "changes": [*earlier.get("changes", []), {"at": time.strftime("%FT%T%z"), "was": old}]})
    return None


def refuse_another(cfg: DictConfig, earlier: Mapping[str, Any]) -> None:
    """Refuse to write over the finished job of another sweep.

    Args:
        cfg: Configuration of a job of this sweep. What can resume is compared by `check_continuing`.
        earlier: Record of the finished one, see `record_of`.

    Raises:
        ValueError: If it had other settings or inputs.
    """
    if "resumes_from" not in cfg and (changed := differences(earlier, record_of(cfg))):
        said = [*changed.values()]
        more = f"; {len(said) - MOST_NAMED} more" if len(said) > MOST_NAMED else ""
        raise ValueError(
            f"{cfg.output} holds a finished job of another sweep ({'; '.join(said[:MOST_NAMED])}{more}). Set "
            "output=FOLDER to keep both, or delete it."
        )


def record_of(cfg: DictConfig) -> dict[str, Any]:
    """What a job is made of: its settings, and hashes of what it reads, of folders also file by file."""
    paths = inputs_of(cfg)
    folders = {path: contents_of(Path(path)) for path in paths if Path(path).is_dir()}
    inputs = {path: hash_of(folders[path]) if path in folders else sampled_hash(Path(path)) for path in paths}
    return dict(json.loads(json.dumps({"settings": settings_of(cfg), "inputs": inputs, "folders": folders})))


def changeable(names: Sequence[str]) -> Sequence[str]:
    """The keys of ``resume.change``.

    Args:
        names: Keys as they were given.

    Raises:
        ValueError: If one is not among those that a run can change on its way.
    """
    for name in names:
        if not is_changeable(name):
            raise ValueError(f"resume.change={name} must be among {', '.join(CHANGEABLE)}, or below one of them.")
    return names


def is_changeable(key: str) -> bool:
    """Whether a key, or one above it, is among `CHANGEABLE`."""
    parts = key.split(".")
    above = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    return any(fnmatchcase(name, pattern) for name in above for pattern in CHANGEABLE)


def refusal(home: Path, found: Path, refused: Mapping[str, str]) -> str:
    """Why a run is not resumed, and what to do.

    Args:
        home: Where its record is.
        found: What it would resume from.
        refused: What differs, in words by key.
    """
    said = list(refused.values())
    more = f"; {len(said) - MOST_NAMED} more" if len(said) > MOST_NAMED else ""
    able = [
        key for key in refused if any(fnmatchcase(key, pattern) or is_below(key, pattern) for pattern in CHANGEABLE)
    ]
    change = f"name what is to change with resume.change=[{','.join(able)}], " if len(able) == len(refused) else ""
    return (
        f"{home} holds a run with other settings ({'; '.join(said[:MOST_NAMED])}{more}). Set output=FOLDER to keep "
        f"both, give the earlier settings to resume it, {change}or delete {found} to start anew."
    )


def write(record: Path, content: Mapping[str, Any]) -> None:
    """Write the record, whole or not at all. Ranks that write it at once write the same.

    Args:
        record: The file.
        content: What it says.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    draft = record.with_name(f".{record.name}.{os.getpid()}")
    draft.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    draft.replace(record)


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """Dotted key -> value as the recipe has it, references unresolved: each setting once, by its own key."""
    return {key: value for key, value in leaves(OmegaConf.to_container(cfg)) if not is_free(key)}


def is_free(key: str) -> bool:
    """Whether a setting may change in the middle of a run. A stage of a larger job has the keys of its own job."""
    own = re.sub(r"^stages\.\w+\.", "", key)
    return any(is_below(own, name) for name in FREE) and not any(is_below(own, name) for name in HELD)


def inputs_of(cfg: DictConfig) -> list[str]:
    """Paths of every file and folder that the job is told of, except what lies in its own output folder."""
    own = Path(cfg.output).resolve()
    job = OmegaConf.to_container(cfg.job, resolve=True)
    # Nothing below a trainer is an input.
    paths = dict.fromkeys(
        text for key, value in leaves(job) if "trainer" not in key.split(".") for text in texts(value)
    )
    return [path for path in paths if exists(path) and not is_inside(Path(path), own)]


def exists(text: str) -> bool:
    """Whether a text is the path of something."""
    try:
        return bool(text) and Path(text).exists()
    except OSError:  # too long for a path
        return False


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder or is it.

    Args:
        path: The path.
        folder: The folder.

    Returns:
        The answer.
    """
    return path.resolve().is_relative_to(folder)


def differences(earlier: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, str]:
    """What differs between two records. Inputs that were moved as they are do not differ.

    Args:
        earlier: The record of the earlier run.
        here: That of this one.

    Returns:
        Each difference in words, by key or path.
    """
    found = {}
    old, new = earlier["settings"], here["settings"]
    for key in [*old, *(key for key in new if key not in old)]:
        contents = [by_content(side["settings"].get(key), side["inputs"]) for side in (earlier, here)]
        if (key in old) != (key in new) or (contents[0] != contents[1] and old[key] != new[key]):
            found[key] = f"{key} {shown('was', old, key)}, {shown('is now', new, key)}"
    both = earlier["inputs"].keys() & here["inputs"].keys()
    changed = [path for path in sorted(both) if earlier["inputs"][path] != here["inputs"][path]]
    said = {path: other_files(*(side.get("folders", {}).get(path, {}) for side in (earlier, here))) for path in changed}
    return found | {path: f"{path} has other contents now{said[path]}" for path in changed}


def other_files(old: Mapping[str, Sequence[Any]], new: Mapping[str, Sequence[Any]]) -> str:
    """Which files of a folder differ, in words. Nothing where it is not known.

    Args:
        old: Size and hash of each file that was there.
        new: Of each that is there now.
    """
    if not old or not new:
        return ""
    differ = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    said = [other_file(name, old.get(name), new.get(name)) for name in differ]
    more = f", {len(said) - MOST_NAMED} more" if len(said) > MOST_NAMED else ""
    return f" ({', '.join(said[:MOST_NAMED])}{more})"


def other_file(name: str, old: Sequence[Any] | None, new: Sequence[Any] | None) -> str:
    """How a file differs, in words.

    Args:
        name: Its path in the folder.
        old: Its size and hash earlier. None if it was not there.
        new: Those of now. None if it is gone.
    """
    if old is None or new is None:
        return f"{name} is {'new' if old is None else 'gone'}"
    if old[0] != new[0]:
        return f"{name} had {old[0]:,} bytes and has {new[0]:,}"
    return f"{name} has as many bytes as before, but others"


def by_content(value: Any, inputs: Mapping[str, str]) -> Any:
    """A value whose paths are replaced by the hashes of what they lead to.

    Args:
        value: Any value of a configuration.
        inputs: Path to hash.

    Returns:
        The value.
    """
    if isinstance(value, str):
        return inputs.get(value, value)
    if isinstance(value, list):
        return [by_content(part, inputs) for part in value]
    if isinstance(value, dict):
        return {key: by_content(part, inputs) for key, part in value.items()}
    return value


def shown(verb: str, settings: Mapping[str, Any], key: str) -> str:
    """``was 2.0``, or ``was not set``.

    Args:
        verb: The first words.
        settings: Settings by key.
        key: One of them.

    Returns:
        The words.
    """
    return f"{verb} {json.dumps(settings[key], ensure_ascii=False) if key in settings else 'not set'}"
