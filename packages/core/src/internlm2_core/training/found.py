"""Checkpoints on disk: which are whole, and which of them is the newest, whatever wrote them."""

import hashlib
import json
import logging
import pickletools
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

log = logging.getLogger(__name__)

STATES = ("trainer.pt", "meta.pt")
"""Files of a sharded checkpoint that hold what is not sharded: ours, and Lightning's."""


def newest(folder: str | Path, verify: bool = True) -> Path | None:
    """The whole checkpoint of a folder that has taken the most steps. Broken ones that are newer are warned of.

    Args:
        folder: Where checkpoints are, as files or sharded folders.
        verify: Whether checksums are compared, for which it is read once. Sharded folders are read on the first rank
            alone, whose choice the others take when they load.

    Returns:
        Its path, or None where there is no checkpoint.

    Raises:
        ValueError: If there are checkpoints and none is whole.
    """
    broken: list[str] = []
    for path in newest_first(folder):
        reads = verify and (path.is_file() or getattr(rank_zero_only, "rank", 0) == 0)
        if step_of(path) is None:
            broken.append(f"{path} is not whole")
        elif reads and (damaged := damage(path)):
            broken.append(f"{path} is damaged ({damaged} differs from its checksum)")
        else:
            if broken:
                warn(f"{', and '.join(broken)}. Resumes from {path}, the newest that is whole.")
            return path
    if broken:
        raise ValueError(f"{', and '.join(broken)}, and there is no other. Delete it to start anew.")
    return None


@rank_zero_only
def warn(message: str) -> None:
    """Warn once, and not on each rank."""
    log.warning(message)


def newest_first(folder: str | Path) -> Iterator[Path]:
    """Checkpoints in the order in which a run would resume from them. Links are left out.

    Args:
        folder: Where they are. Only names without a step have to be read for this order.
    """
    paths = [path for path in Path(folder).glob("*.ckpt") if not path.is_symlink() and not path.name.startswith(".")]

    def age(path: Path) -> tuple[int, float]:
        named = re.search(r"step[-=](\d+)", path.name)
        step = int(named[1]) if named else step_of(path)
        return -1 if step is None else step, path.stat().st_mtime

    return iter(sorted(paths, key=age, reverse=True))


def step_of(path: Path) -> int | None:
    """Optimizer steps that a checkpoint has taken, or None where it is not whole.

    Args:
        path: A file, of which only the directory is read, or a sharded folder, which is compared with its manifest.
    """
    try:
        if not path.is_dir():
            return written_step(path)
        state = next(path / name for name in STATES if (path / name).is_file())
        if state.name == STATES[0]:
            files = json.loads((path / "manifest.json").read_text("utf-8"))["files"]
            if any((path / name).stat().st_size != entry["bytes"] for name, entry in files.items()):
                return None
        elif not (path / ".metadata").is_file():  # written last
            return None
        return written_step(state)
    except Exception:  # readers of archives raise a dozen kinds where bits are flipped
        return None


def damage(path: Path) -> str | None:
    """What of a checkpoint differs from its checksum. Every byte is read.

    Args:
        path: A file, whose archive has a CRC-32 of each record, or a sharded folder with the SHA-256 of each file.
            Lightning's own sharded folders have none.

    Returns:
        The first record or file that differs. None where nothing does.
    """
    if not path.is_dir():
        return damaged_record(path)
    if not (manifest := path / "manifest.json").is_file():
        return None
    files = json.loads(manifest.read_text("utf-8"))["files"]

    def differs(name: str) -> bool:
        with (path / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != files[name].get("sha256")

    with ThreadPoolExecutor(max_workers=8) as pool:
        return next((name for name, wrong in zip(files, pool.map(differs, files), strict=True) if wrong), None)


def damaged_record(file: Path) -> str | None:
    """The first record of a file of ``torch.save`` that differs from its checksum, or its directory if that is broken.

    Args:
        file: A zip archive. torch itself compares no checksums when it loads.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if damaged := archive.testzip():
                return damaged
            if any(record.external_attr & 16 for record in archive.infolist()):  # torch would take it for a folder
                return "its directory"
        reader = torch._C.PyTorchFileReader(str(file))  # stricter with headers
        for record in reader.get_all_records():
            reader.get_record_offset(record)  # type: ignore[attr-defined]
    except Exception:
        return "its directory"
    return None


def written_step(file: Path) -> int:
    """The number under ``global_step`` in a file of ``torch.save``. Nothing of it is executed.

    Args:
        file: A zip archive, whose directory is at its end: half a file has none.
    """
    with zipfile.ZipFile(file) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        is_next = False
        for code, value, _ in pickletools.genops(archive.read(pickled)):
            if is_next and isinstance(value, int) and "PUT" not in code.name:
                return value
            is_next = value == "global_step" or (is_next and "PUT" in code.name)
    raise KeyError("global_step")
