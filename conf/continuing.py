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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from internlm2_conf.hashing import sampled_hash
from internlm2_conf.keys import is_below, leaves, texts
from omegaconf import DictConfig, OmegaConf

RECORD = "settings.json"

FREE = (
    # where it runs and what it writes beside the model
    *("output", "paths", "callbacks", "logger", "checkpoint_every", "validation", "data.num_workers"),
    # devices, and how long the same schedule is followed
    *("trainer", "strategy", "layout"),
    # memory and speed: the same sums in another order
    *("module.micro_batch_rows", "module.recompute", "module.recompute_every", "module.compile"),
    *("model.attend", "model.max_logits", "model.head_loss", "batches.row_tokens", "settings.micro_batch_tokens"),
)
"""Keys that may change, with all below them."""

HELD = ("trainer.precision", "trainer.max_epochs")
"""Exceptions among them; the learning rate depends on the passes where they count the steps."""

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
        return
    folder, found = Path(cfg.output), Path(cfg.resumes_from)
    here = json.loads(json.dumps({"settings": settings_of(cfg), "inputs": inputs_of(cfg)}))
    # Beside checkpoints that are elsewhere: a run that they are shared with is compared too.
    home = folder if is_inside(found, folder.resolve()) else found.parent
    record = home / RECORD
    if not any(path.exists() for path in found.parent.glob(found.name)):  # no link that leads nowhere
        write(record, here)
    elif not record.is_file():
        print(f"{home} holds no {RECORD}: resumes without comparing settings.", file=sys.stderr)
        write(record, here)
    elif changed := differences(json.loads(record.read_text()), here):
        more = f"; {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
        raise ValueError(
            f"{home} holds a run with other settings ({'; '.join(changed[:MOST_NAMED])}{more}). Set output=FOLDER to "
            f"keep both, give the earlier settings to resume it, or delete {found} to start anew."
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


def inputs_of(cfg: DictConfig) -> dict[str, str]:
    """Path -> hash of every file and folder that the job is told of, except what lies in its own output folder."""
    own = Path(cfg.output).resolve()
    job = OmegaConf.to_container(cfg.job, resolve=True)
    # Nothing below a trainer is an input.
    paths = dict.fromkeys(
        text for key, value in leaves(job) if "trainer" not in key.split(".") for text in texts(value)
    )
    return {path: sampled_hash(Path(path)) for path in paths if exists(path) and not is_inside(Path(path), own)}


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


def differences(earlier: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs between two records. Inputs that were moved as they are do not differ.

    Args:
        earlier: The record of the earlier run.
        here: That of this one.

    Returns:
        Each difference, in words.
    """
    found = []
    old, new = earlier["settings"], here["settings"]
    for key in [*old, *(key for key in new if key not in old)]:
        contents = [by_content(side["settings"].get(key), side["inputs"]) for side in (earlier, here)]
        if (key in old) != (key in new) or (contents[0] != contents[1] and old[key] != new[key]):
            found.append(f"{key} {shown('was', old, key)}, {shown('is now', new, key)}")
    both = earlier["inputs"].keys() & here["inputs"].keys()
    changed = [path for path in sorted(both) if earlier["inputs"][path] != here["inputs"][path]]
    return found + [f"{path} has other contents now" for path in changed]


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
