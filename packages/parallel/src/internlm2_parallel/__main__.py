"""What one asks about a run from the shell.

python -m internlm2_parallel check runs/pretrain/checkpoints/last.ckpt           files whose checksum differs
python -m internlm2_parallel join runs/pretrain/checkpoints/last.ckpt one.ckpt   one file for plain Lightning
python -m internlm2_parallel fetch s3://bucket/run last.ckpt checkpoints         a checkpoint back from its store
python -m internlm2_parallel diagnose rank-0.log rank-1.log                      why a run ended
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from internlm2_parallel.checkpoint import as_one_file, damage
from internlm2_parallel.checkpoint.policy import fetch
from internlm2_parallel.health import diagnose


def main(words: Sequence[str]) -> int:
    """Run one command. The exit code is 1 where a checkpoint is damaged or a run's end has no known cause."""
    parser = argparse.ArgumentParser("python -m internlm2_parallel", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    for command, *arguments in (("check", "folder"), ("join", "folder", "file"), ("fetch", "remote", "name", "folder")):
        asked = commands.add_parser(command)
        for argument in arguments:
            asked.add_argument(argument)
    commands.add_parser("diagnose").add_argument("logs", nargs="+")
    given = parser.parse_args(words)
    if given.command == "check":
        wrong = damage(given.folder)
        print("\n".join(wrong) or "whole")
        return int(bool(wrong))
    if given.command == "diagnose":
        cause = diagnose("\n".join(Path(log).read_text("utf-8") for log in given.logs))
        print(f"{cause.name}: {cause.line}\n{cause.advice}" if cause else "no known cause")
        return int(cause is None)
    if given.command == "join":
        as_one_file(given.folder, given.file)
    else:
        print(fetch(given.name, given.remote, Path(given.folder)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FileNotFoundError as error:
        sys.exit(str(error))
