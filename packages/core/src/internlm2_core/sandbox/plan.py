"""What the warden is told, and what a program finds in its sandbox."""

import base64
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from internlm2_core.sandbox.limits import Limits
from internlm2_core.sandbox.seccomp import seccomp_filter

SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/alternatives",
)
NOBODY = 1_900_000_000
"""User of the programs. Where we are root, they become it: nobody has this number, and it owns nothing."""
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/scratch", "TMPDIR": "/scratch", "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2", "MPLBACKEND": "Agg", "MPLCONFIGDIR": "/scratch/.matplotlib", "PYTHONPATH": "/packages",
}  # fmt: skip


def plan(packages: str | None, python: str, files: Mapping[str, str], limits: Limits) -> dict[str, Any]:
    """What the warden is told.

    Args:
        packages: Folder of packages that programs may import.
        python: The interpreter.
        files: Texts by name in the scratch folder. ``main.py`` is run.
        limits: What the program may use.
    """
    readable, links = system_files(python)
    if packages is not None:
        readable.append((checked_packages(packages), "/packages"))
    return {
        "uid": NOBODY,
        "caller": [os.geteuid(), os.getegid()],
        "readable": readable,
        "hidden": installed_packages(python),
        "links": [*links, ("/tmp", "scratch"), ("/dev/shm", "/scratch")],
        "etc": {
            "/etc/passwd": f"sandbox:x:{NOBODY}:{NOBODY}::/scratch:/bin/false\n",
            "/etc/group": f"sandbox:x:{NOBODY}:\n",
        },
        "files": dict(files),
        "limits": asdict(limits),
        "rlimits": rlimits(limits),
        "filter": base64.b64encode(seccomp_filter()).decode(),
        "command": [python, "-s", "main.py"],
        "environment": ENVIRONMENT,
    }


def system_files(python: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What an interpreter needs of this machine.

    Args:
        python: The interpreter.

    Returns:
        Folders and files as (where they are, where they appear), and links as (path, target).
    """
    readable = [(path, path) for path in SYSTEM if Path(path).exists() and not Path(path).is_symlink()]
    links = [(path, str(Path(path).readlink())) for path in SYSTEM if Path(path).is_symlink()]
    prefix = Path(python).parent.parent
    if not prefix.is_relative_to("/usr"):
        readable += [(str(prefix / name), str(prefix / name)) for name in ("bin", "lib") if (prefix / name).is_dir()]
    return readable, links


def checked_packages(folder: str) -> str:
    """A folder of packages, without links in its path.

    Raises:
        FileNotFoundError: If it is not a folder.
        ValueError: If programs could not read it.
    """
    found = Path(folder).resolve()
    if not found.is_dir():
        raise FileNotFoundError(f"packages={folder} is not a folder.")
    if os.geteuid() == 0 and found.stat().st_mode & 0o005 != 0o005:
        raise ValueError(f"packages={folder} must be readable for everyone, since programs do not run as root.")
    return str(found)


def installed_packages(python: str) -> list[str]:
    """Folders of packages beside an interpreter. Programs find them empty, so that they run alike everywhere.

    Args:
        python: The interpreter.
    """
    libraries = {Path(python).parent.parent / "lib", Path("/usr/lib"), Path("/usr/local/lib")}
    found = [
        folder
        for library in libraries
        for kind in ("site", "dist")
        for folder in library.glob(f"python3*/{kind}-packages")
    ]
    return sorted(str(folder) for folder in found if not folder.is_symlink())


def rlimits(limits: Limits) -> dict[str, int]:
    """Limits of each process, by their names in `resource`."""
    return {
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_CPU": math.ceil(limits.seconds) + 1,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_FSIZE": limits.files_bytes,
        "RLIMIT_STACK": 8 << 20,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
    }
