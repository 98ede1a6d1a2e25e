"""What ``internlm2 --help`` and ``internlm2 JOB --help`` print, read from the configurations themselves.

The first comment lines of a configuration are its help.
"""

import difflib
import inspect
import re
from collections.abc import Iterable
from pathlib import Path

from hydra.utils import get_object
from internlm2_conf.recipes import Recipes
from internlm2_conf.targets import arguments
from omegaconf import OmegaConf

EXAMPLES = """\
Examples:
  internlm2 reproduce                                   raw documents to a chat model and its report
  internlm2 process pipeline=web inputs=[a.warc.gz] output=pages
  internlm2 pretrain phase=4k model=tiny trainer.max_steps=100
  internlm2 pretrain -m model=tiny seed=1,2,3           a sweep: one folder a job
  internlm2 generate checkpoint=runs/reproduce/chat prompt="12 + 7 = ?"
  internlm2 my_job --config-dir my_conf                 a job of your own
  internlm2 JOB --help                                  what a job does, its groups and arguments
  internlm2 JOB --cfg job                               the resolved configuration, without running"""


def comment(file: Path) -> str:
    """The comment block at a file's head, Hydra's own directives left out."""
    lines: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def overview(recipes: Recipes) -> str:
    """Jobs, groups and examples."""
    abouts = {name: comment(file).partition("\n")[0] for name, file in recipes.jobs().items()}
    jobs = "\n".join(f"  {name:<14} {about}" for name, about in abouts.items())
    options = "\n".join(f"  {group:<16} {', '.join(names)}" for group, names in recipes.groups().items())
    return f"internlm2 JOB [key=value ...]\n\nJobs:\n{jobs}\n\nGroups (group=option):\n{options}\n\n{EXAMPLES}"


def job_help(job: str, recipes: Recipes) -> str:
    """A job's comment, its groups, the arguments of its function, and where to see every key.

    Args:
        job: Name of the job.
        recipes: Where it is looked for.

    Returns:
        Lines to print.
    """
    file = recipes.jobs()[job]
    text = file.read_text(encoding="utf-8")
    used = re.findall(r"^\s*- (?:override )?/?(([a-z_/]+)(?:@[\w.]+)?: [\w.]+)", text, re.M)
    known = recipes.groups()
    lines = [f"  {word.replace(': ', '='):<32} of {', '.join(known[group])}" for word, group in used if group in known]
    chosen = "\n\nGroups:\n" + "\n".join(lines) if lines else ""
    keys = "\n".join([*own_keys(text), *further(job, recipes)])
    taken = f"\n\nKeys, with what holds unless they are given:\n{keys}" if keys else ""
    return f"internlm2 {job} [key=value ...]\n\n{comment(file)}{chosen}{taken}\n\nEvery key: internlm2 {job} --cfg job"


def own_keys(text: str) -> list[str]:
    """The plain keys at the top of a job's configuration, with the comment beside each.

    Args:
        text: The configuration.

    Returns:
        Lines to print. A key that must be given has no value.
    """
    found = re.findall(r"^(\w+): *([^#\n]+?) *(?:# *(.*))?$", text, re.M)
    kept = [entry for entry in found if entry[0] != "name" and not entry[1].startswith("${")]
    lines = [
        (f"{key}={value}", about) if value != "???" else (f"{key}=...", "must be given") for key, value, about in kept
    ]
    return [f"  {setting:<24} {about}".rstrip() for setting, about in lines]


def further(job: str, recipes: Recipes) -> list[str]:
    """What a configuration leaves as the signature of its job's function has it.

    Args:
        job: Name of the job.
        recipes: Where it is looked for.
    """
    cfg = OmegaConf.to_container(recipes.compose(job))
    assert isinstance(cfg, dict)
    target = str(cfg["job"].get("_target_"))
    taken = arguments(target) or {}
    described = described_in(inspect.getdoc(get_object(target)) or "") if taken else {}
    return [
        f"  {f'{name}={plain(parameter.default)}':<24} {described.get(name, '')}".rstrip()
        for name, parameter in taken.items()
        if name not in cfg["job"] and name not in cfg
    ]


def plain(value: object) -> object:
    """A default as it is written in a configuration: a class or function by its name, an empty value as null."""
    if value is inspect.Parameter.empty:
        return "..."
    return "null" if value is None else getattr(value, "__name__", value)


def described_in(docstring: str) -> dict[str, str]:
    """What the section ``Args:`` says of each argument."""
    section = re.search(r"^Args:\n((?: {4}.*\n?|\n)*)", docstring, re.M)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1], re.M) if section else []
    return {name: " ".join(text.replace("``", "").split()) for name, text in entries}


def nearest(word: str, words: Iterable[str]) -> str:
    """`` (did you mean X?)``, or nothing.

    Args:
        word: What was typed.
        words: What there is.

    Returns:
        Words to append.
    """
    match = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {match[0]}?)" if match else ""
