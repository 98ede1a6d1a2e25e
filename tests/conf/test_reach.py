"""Nothing in a job's configuration is dead: every leaf is read by the job, by Hydra, or by the command itself."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from internlm2_conf.keys import is_below, leaves, references
from internlm2_conf.recipes import Recipes
from omegaconf import OmegaConf

# What the command reads beside the node `job`.
ROOTS = ("job", "hydra", "output", "name", "resumes_from", "resume", "optimized_metric")
# Keys that nothing reads, by job, and why.
SPARED = {
    "plan": ("model", "seed", "init_from"),  # the group `model` describes networks, of which `plan` takes the size
    "scaling": ("model", "seed", "init_from"),
    "sft": ("phase.long_fraction", "phase.short_context"),  # of `batches=chat_mixed`
}
# Read by options of their groups: `batches=long`, `labels=fluency_by_rule`, `pipeline=decontamination`.
OPTIONAL = ("long_tokens", "inputs", "evaluation")
# Of `suite=instructions`, `suite=chat`, `suite=tools`, `suite=reward` and judged suites.
SUITES = (
    "instructions", "train_set", "test_set", "reference_set", "problems", "transcripts", "sandbox", "data", "tasks", "responses",
)  # fmt: skip


def unreached(cfg: Mapping[str, Any], roots: Iterable[str]) -> list[str]:
    """Leaves that are neither below the roots, nor below what these refer to."""
    known = list(references("", cfg))
    reached, waiting = set[str](), list(roots)
    while waiting:
        root = waiting.pop()
        if root not in reached:
            reached.add(root)
            # A reference to a leaf of a node counts wherever the node is read.
            waiting += [name for key, name in known if is_below(key, root)]
    return [key for key, _ in leaves(cfg) if not any(is_below(key, root) for root in reached)]


def test_dead_keys_are_found() -> None:
    cfg = {"job": {"a": "${x}", "b": "${oc.dict.values:many}"}, "x": "${node.y}/z", "node": {"y": 1, "dead": 2}}
    cfg |= {"many": {"c": "${..far}"}, "far": 1, "lost": "${far}"}
    assert unreached(cfg, ["job"]) == ["node.dead", "lost"]


CASES = [*((job, ()) for job in Recipes().jobs()), ("pretrain", ("+experiment=three_phases",))]


@pytest.mark.parametrize(("job", "words"), CASES, ids=lambda value: value if isinstance(value, str) else "".join(value))
def test_no_key_is_dead(job: str, words: tuple[str, ...]) -> None:
    cfg = OmegaConf.to_container(Recipes().compose(job, words, with_hydra=True), resolve=False)
    assert isinstance(cfg, dict)
    # Phases of their own replace what `phase` says of one.
    replaced = ("phase",) if words else ()
    spared = (*SPARED.get(job, ()), *replaced, *OPTIONAL, *(SUITES if job == "evaluate" else ()))
    dead = [key for key in unreached(cfg, ROOTS) if not any(is_below(key, one) for one in spared)]
    assert not dead, f"nothing reads {', '.join(dead)}"
