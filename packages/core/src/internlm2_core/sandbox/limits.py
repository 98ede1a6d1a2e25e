"""What a program may use."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """What a program may use. All its processes count together, unless said otherwise.

    Attributes:
        seconds: Time by the clock, and processor time of each process. In a session, of each turn.
        memory_bytes: Address space of each process, and memory of all.
        processes: Processes and threads at once.
        output_bytes: Bytes of each of stdout and stderr. In a session, of each turn.
        files_bytes: Bytes of all files in the scratch folder. They are kept in memory.
        files: Files and folders in the scratch folder.
        open_files: Open files of each process.

    Raises:
        ValueError: If one of them is not positive.
    """

    seconds: float = 10.0
    memory_bytes: int = 1 << 30
    processes: int = 32
    output_bytes: int = 1 << 16
    files_bytes: int = 64 << 20
    files: int = 1024
    open_files: int = 128

    def __post_init__(self) -> None:
        for field in fields(self):
            if not (value := getattr(self, field.name)) > 0:
                raise ValueError(f"{field.name}={value} must be positive.")
