"""What one asks about a run from the shell.

python -m internlm2_parallel check runs/pretrain/checkpoints/last.ckpt           files whose checksum differs
python -m internlm2_parallel join runs/pretrain/checkpoints/last.ckpt one.ckpt   one file for plain Lightning
python -m internlm2_parallel fetch s3://bucket/run last.ckpt checkpoints         a checkpoint back from its store
python -m internlm2_parallel fetch s3://bucket/run newest checkpoints            the newest whole one
python -m internlm2_parallel diagnose rank-0.log rank-1.log runs/pretrain/health  why a run ended, who was behind
python -m internlm2_parallel failed-nodes runs/pretrain/health                   for sbatch --exclude=
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from internlm2_parallel.checkpoint import as_one_file, damage
from internlm2_parallel.checkpoint.policy import fetch, newest_remote
from internlm2_parallel.health import diagnose, divergence, failed_nodes
from internlm2_parallel.health.nodes import host


def main(words: Sequence[str]) -> int:
    """Run one command. The exit code is 1 where a checkpoint is damaged, a cause unknown, this node failed before."""
    parser = argparse.ArgumentParser("python -m internlm2_parallel", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    for command, *arguments in (("check", "folder"), ("join", "folder", "file"), ("fetch", "remote", "name", "folder")):
        asked = commands.add_parser(command)
        for argument in arguments:
            asked.add_argument(argument)
    commands.add_parser("diagnose").add_argument("logs", nargs="+", help="files, and folders of HangWatch")
    failed = commands.add_parser("failed-nodes", help="nodes that failed in several attempts, with commas between")
    failed.add_argument("folder", help="of HangWatch and FailedNodes")
    failed.add_argument("--times", type=int, default=2, help="attempts in which a node failed")
    failed.add_argument("--here", action="store_true", help="is this node one of them? Exit code 1, if so")
    given = parser.parse_args(words)
    if given.command == "check":
        wrong = damage(given.folder)
        print("\n".join(wrong) or "whole")
        return int(bool(wrong))
    if given.command == "diagnose":
        return explain([Path(log) for log in given.logs])
    if given.command == "failed-nodes":
        failed_before = failed_nodes(given.folder, given.times)
        print(",".join(failed_before))
        return int(given.here and host() in failed_before)
    if given.command == "join":
        as_one_file(given.folder, given.file)
    else:
        name = newest_remote(given.remote) if given.name == "newest" else given.name
        if name is None:
            parser.error(f"{given.remote} has no whole checkpoint.")
        print(fetch(name, given.remote, Path(given.folder)))
    return 0


def explain(given: Sequence[Path]) -> int:
    """Print why a run ended.

    Args:
        given: Logs, and folders with what `HangWatch` has written.
    """
    folders = [path for path in given if path.is_dir()]
    logs = [path for path in given if path.is_file()]
    logs += [stack for folder in folders for stack in sorted(folder.glob("rank-*.stack.txt"))]
    cause = diagnose("\n".join(log.read_text("utf-8", errors="replace") for log in logs))
    parted = [sentence for folder in folders if (sentence := divergence(folder))]
    print("\n".join([f"{cause.name}: {cause.line}" if cause else "no known cause", *parted]))
    if cause:
        print(cause.advice)
    return int(cause is None)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FileNotFoundError as error:
        sys.exit(str(error))
