"""What ``internlm2 --help`` and ``internlm2 JOB --help`` print, read from the configurations themselves.

The first comment lines of a configuration are its help.
"""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

CONF = Path(__file__).parent

EXAMPLES = """\
Examples:
  internlm2 reproduce                                   raw documents to a chat model and its report
  internlm2 process pipeline=web inputs=[a.warc.gz] output=pages
  internlm2 pretrain phase=4k model=tiny trainer.max_steps=100
  internlm2 pretrain -m model=tiny seed=1,2,3           a sweep: one folder a job
  internlm2 generate checkpoint=runs/reproduce/chat prompt="12 + 7 = ?"
  internlm2 JOB --help                                  what a job does and its groups
  internlm2 JOB --cfg job                               the resolved configuration, without running"""


def job_names() -> list[str]:
    """All jobs: the configurations at the top of this folder."""
    return sorted(file.stem for file in CONF.glob("*.yaml"))


def groups() -> dict[str, list[str]]:
    """Options of every configuration group."""
    files = (file.relative_to(CONF) for file in CONF.rglob("*.yaml"))
    found: dict[str, list[str]] = {}
    for file in sorted(file for file in files if len(file.parts) > 1):
        found.setdefault("/".join(file.parts[:-1]), []).append(file.stem)
    return found


def comment(file: Path) -> str:
    """The comment block at a file's head, Hydra's own directives left out."""
    lines: list[str] = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def overview() -> str:
    """Jobs, groups and examples."""
    jobs = "\n".join(f"  {name:<14} {comment(CONF / f'{name}.yaml').partition(chr(10))[0]}" for name in job_names())
    options = "\n".join(f"  {group:<16} {', '.join(names)}" for group, names in groups().items())
    return f"internlm2 JOB [key=value ...]\n\nJobs:\n{jobs}\n\nGroups (group=option):\n{options}\n\n{EXAMPLES}"


def job_help(job: str) -> str:
    """A job's comment, the groups that it is made of, and where to see every key."""
    text = (CONF / f"{job}.yaml").read_text()
    used = dict(re.findall(r"^\s*- (?:override )?/?([a-z_/]+)(?:@[\w.]+)?: (\w+)", text, re.M))
    known = groups()
    lines = [f"  {group}={option:<16} of {', '.join(known[group])}" for group, option in used.items() if group in known]
    chosen = "\n\nGroups:\n" + "\n".join(lines) if lines else ""
    about = comment(CONF / f"{job}.yaml")
    return f"internlm2 {job} [key=value ...]\n\n{about}{chosen}\n\nEvery key: internlm2 {job} --cfg job"


def nearest(word: str, words: Iterable[str]) -> str:
    """`` (did you mean X?)``, or nothing."""
    match = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {match[0]}?)" if match else ""
