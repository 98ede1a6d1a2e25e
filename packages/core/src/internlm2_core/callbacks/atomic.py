"""Checkpoints that are whole or not there.

Lightning writes to the system's temporary folder and moves, which is not one atomic step across file systems. Here the
file is written beside its target, flushed to disk and renamed.
"""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """One file, written beside its target and renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``, atomically.

        Raises:
            OSError: If it could not be written, as on a full disk. Nothing of it is left then.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.draft")
        try:
            with draft.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except (OSError, RuntimeError) as error:  # torch wraps what writing raises
            draft.unlink(missing_ok=True)
            reason = error.__context__ if isinstance(error.__context__, OSError) else error
            raise OSError(f"{target} was not written: {reason}. The checkpoint before it is as it was.") from error
