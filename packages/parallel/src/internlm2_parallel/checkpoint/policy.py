"""When checkpoints are written, where they are copied, and how long they are kept."""

import json
import logging
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from internlm2_parallel.checkpoint.failing import begin
from internlm2_parallel.checkpoint.folder import MANIFEST, completed, draft_of, put_in_place

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointPolicy:
    """What happens to a sharded checkpoint.

    Attributes:
        asynchronous: Whether training continues while a copy of the state is written.
        remote: URL of a store (any that fsspec knows) to which each checkpoint is copied in the background, once it is
            whole locally. None copies nothing.
        keep_local: Newest checkpoints that stay on the local (hot) disk once they are in the remote (cold) store.
            0 keeps all. Nothing that is not in the remote store is ever removed.
        verify: Whether checksums are compared before a checkpoint is loaded, each rank reading its share of the files.
    """

    asynchronous: bool = False
    remote: str | None = None
    keep_local: int = 0
    verify: bool = True


class Archive:
    """Copies whole checkpoints to a remote store in the background, one after the other.

    Args:
        policy: Where to, and what stays.
    """

    def __init__(self, policy: CheckpointPolicy) -> None:
        self.policy = policy
        self._worker: threading.Thread | None = None
        self._failed: BaseException | None = None

    def __call__(self, folder: Path, like: str | None = None) -> None:
        """Start copying a checkpoint, once the copy before is complete.

        Args:
            folder: The checkpoint.
            like: See `upload`.
        """
        if self.policy.remote is None:
            return
        self.wait()
        self._worker = threading.Thread(target=self._run, args=(folder, like), name="checkpoint-archive")
        self._worker.start()

    def wait(self) -> None:
        """Until the last copy is complete. A copy that failed is warned of, and the local checkpoint is still there."""
        if self._worker is not None:
            self._worker.join()
            self._worker = None
        if self._failed is not None:
            log.warning("A checkpoint was not copied to %s: %s", self.policy.remote, self._failed)
            self._failed = None

    def _run(self, folder: Path, like: str | None) -> None:
        try:
            assert self.policy.remote is not None
            upload(folder, self.policy.remote, like)
            if self.policy.keep_local:
                thin(folder.parent, self.policy.remote, self.policy.keep_local)
        except Exception as error:
            self._failed = error


def upload(folder: Path, remote: str, like: str | None = None) -> None:
    """Copy a whole checkpoint. The manifest comes last and marks the copy as whole.

    Args:
        folder: Local checkpoint.
        remote: URL of the store.
        like: Name of another one that holds some of the same files. The store copies those itself, if it has it whole.
    """
    files, root = fsspec.core.url_to_fs(remote)
    target = f"{root.rstrip('/')}/{folder.name}"
    files.makedirs(target, exist_ok=True)
    if files.exists(f"{target}/{MANIFEST}"):
        files.rm(f"{target}/{MANIFEST}")
    there = {} if like is None else entries(files, f"{root.rstrip('/')}/{like}")
    for name, entry in sorted(json.loads((folder / MANIFEST).read_text("utf-8"))["files"].items()):
        if there.get(name) == entry:
            files.cp_file(f"{root.rstrip('/')}/{like}/{name}", f"{target}/{name}")
        else:
            files.put_file(str(folder / name), f"{target}/{name}")
    files.put_file(str(folder / MANIFEST), f"{target}/{MANIFEST}")


def entries(files: fsspec.AbstractFileSystem, source: str) -> dict[str, dict[str, Any]]:
    """Files of a checkpoint by its manifest, each with size and checksum. None where it is not whole.

    Args:
        files: The store.
        source: The checkpoint there.
    """
    if not files.exists(f"{source}/{MANIFEST}"):
        return {}
    found: dict[str, dict[str, Any]] = json.loads(files.cat_file(f"{source}/{MANIFEST}"))["files"]
    return found


def fetch(name: str, remote: str, folder: Path) -> Path:
    """Copy a checkpoint back from the store.

    Args:
        name: Name of the checkpoint, such as ``last.ckpt``.
        remote: URL of the store.
        folder: Where it belongs.

    Returns:
        The checkpoint. A broken one of that name is replaced.

    Raises:
        FileNotFoundError: If no whole checkpoint of that name is there.
    """
    files, root = fsspec.core.url_to_fs(remote)
    source = f"{root.rstrip('/')}/{name}"
    if not files.exists(f"{source}/{MANIFEST}"):
        raise FileNotFoundError(f"remote={remote} has no whole checkpoint called {name}.")
    draft = draft_of(folder / name)
    begin(draft)
    for path in files.ls(source, detail=False):
        files.get_file(path, str(draft / Path(path).name))
    put_in_place(draft, folder / name)
    return folder / name


def fetch_missing(target: Path, remote: str) -> None:
    """Copy a checkpoint back from the store, unless it is here.

    Args:
        target: Where it belongs, under the name that it has in the store.
        remote: URL of the store.

    Raises:
        FileNotFoundError: If it is neither here nor there.
    """
    if not target.is_file() and not completed(target):
        fetch(target.name, remote, target.parent)


def newest_remote(remote: str) -> str | None:
    """The name of the numbered checkpoint in a store that has taken the most steps and is whole.

    Args:
        remote: URL of the store.

    Returns:
        None where there is none.
    """
    files, root = fsspec.core.url_to_fs(remote)
    if not files.exists(root):
        return None
    names = [Path(path).name for path in files.ls(root, detail=False)]
    numbered = sorted((step, name) for name in names if (step := step_in(name)) is not None)
    whole = (name for _, name in reversed(numbered) if files.exists(f"{root.rstrip('/')}/{name}/{MANIFEST}"))
    return next(whole, None)


def newer_remote(folder: Path, remote: str) -> Path | None:
    """Where the newest checkpoint of a store belongs, if it is newer than every whole one here.

    Args:
        folder: Local checkpoints.
        remote: URL of the store.
    """
    if (name := newest_remote(remote)) is None:
        return None
    here = (step_in(path.name) or 0 for path in folder.glob("*.ckpt") if completed(path))
    return folder / name if (step_in(name) or 0) > max(here, default=-1) else None


def step_in(name: str) -> int | None:
    """The step in the name of a checkpoint, ``step-N.ckpt``. None for other names."""
    found = re.fullmatch(r"step[-=](\d+)\.ckpt", name)
    return int(found[1]) if found else None


def thin(folder: Path, remote: str, keep: int) -> list[Path]:
    """Remove all but the newest ``keep`` numbered checkpoints that are whole in the remote store.

    Args:
        folder: Local checkpoints, named with their step (``step-100.ckpt``).
        remote: URL of the store.
        keep: Newest that stay.

    Returns:
        What was removed.
    """
    files, root = fsspec.core.url_to_fs(remote)
    numbered = [path for path in folder.glob("*.ckpt") if path.is_dir() and re.search(r"\d+", path.stem)]
    numbered.sort(key=lambda path: int(re.findall(r"\d+", path.stem)[-1]))
    stored = [path for path in numbered[:-keep] if files.exists(f"{root.rstrip('/')}/{path.name}/{MANIFEST}")]
    for path in stored:
        shutil.rmtree(path)
    return stored
