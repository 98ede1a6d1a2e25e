"""Completion by the shell: ``eval "$(internlm2 -sc install=bash)"``.

Hydra knows a program with one configuration. Here the first word names it, and is completed with the names of the jobs.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from internlm2_conf.asked import Asked, read


def complete(asked: Asked, run: Callable[[], Any]) -> None:
    """Print what a shell asks for. No job runs.

    Args:
        asked: The command, with the option ``-sc``.
        run: Hands ``sys.argv`` to Hydra.
    """
    line = os.environ.get("COMP_LINE", "")
    words = line.split()[1:]
    job = asked.job or read(words).job
    is_first = job is not None and words[-1:] == [job] and not line.endswith(" ")
    if any(word.startswith("query") for word in asked.words) and (job not in asked.recipes.jobs() or is_first):
        print("\n".join(name for name in asked.recipes.jobs() if name.startswith(job or "")))
        return
    if job is not None and f" {job}" in line:
        os.environ["COMP_LINE"] = line.replace(f" {job}", "", 1)
        os.environ["COMP_POINT"] = str(int(os.environ.get("COMP_POINT", len(line))) - len(job) - 1)
    name = job or next(iter(asked.recipes.jobs()))
    sys.argv = [sys.argv[0], f"--config-name={name}", *asked.options, *asked.words]
    run()
