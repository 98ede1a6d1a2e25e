"""What NCCL, gloo and torch's collectives read from the environment when ranks connect, set by configuration."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PREFIXES = ("NCCL_", "TORCH_NCCL_", "TORCH_FR_", "GLOO_")


@dataclass(frozen=True)
class Communication:
    """How ranks talk.

    Attributes:
        environment: Variables of NCCL, gloo and torch's collectives, such as ``NCCL_IB_HCA``, ``NCCL_SOCKET_IFNAME``
            or ``TORCH_NCCL_ASYNC_ERROR_HANDLING``. They replace those of the shell.
        recorded: Newest collectives that each rank remembers in torch's flight recorder. 0 records nothing.
        folder: Where NCCL's watchdog writes its record when a collective takes longer than ``timeout_s`` of the
            strategy. None writes none. `HangWatch` writes its own.

    Raises:
        ValueError: If a variable belongs to something else, or ``recorded`` is negative.
    """

    environment: Mapping[str, str | int] = field(default_factory=dict)
    recorded: int = 2000
    folder: str | Path | None = None

    def __post_init__(self) -> None:
        strangers = [name for name in self.environment if not name.startswith(PREFIXES)]
        if strangers:
            raise ValueError(f"environment={strangers} must be variables that begin with {', '.join(PREFIXES)}.")
        if self.recorded < 0:
            raise ValueError(f"recorded={self.recorded} must be 0 or more.")

    def prepare(self) -> None:
        """Set the variables. Called before the first process group, which reads them once."""
        os.environ["TORCH_FR_BUFFER_SIZE"] = str(self.recorded)
        if self.folder is not None and self.recorded:
            Path(self.folder).mkdir(parents=True, exist_ok=True)
            # torch appends the rank.
            os.environ["TORCH_FR_DUMP_TEMP_FILE"] = str(Path(self.folder).absolute() / "nccl-rank-")
            os.environ["TORCH_NCCL_DUMP_ON_TIMEOUT"] = "1"
        os.environ.update({name: str(value) for name, value in self.environment.items()})
