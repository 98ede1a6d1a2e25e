"""The job ``internlm2 online_rlhf``: rounds of PPO with a reward model that learns from each round (report 4.2.2).

Writes ``OUTPUT/round-K/{reward,ppo,audit}`` (see `internlm2_align.online.rounds`), ``OUTPUT/model`` (the best actor of
the last round), ``OUTPUT/reward`` (its reward model), and, last, ``OUTPUT/metrics.json``:

    schema      "internlm2/align/online_rlhf/1"
    annotator   "SimulatedAnnotator": no person has judged
    rounds      one entry a round:
        round   from 1
        reward  null in round 1 (given), else {"pairs", "steps", "seconds", ..., "heldout"} as in the job `reward`
        ppo     figures as in the job `ppo`: "start", "best", "last", "history", ...
        audit   {"patterns": [{"domain", "kind", "value", "early", "late", "reward_gain", "judged_gain"}],
                "fast_pairs", "fast_pairs_written", "slow_pairs",
                "models": {"sft" | "early" | "late": {"reward", "judged", "characters"}}},
                an audit after the fact, which may find no pattern
        earlier_patterns   how often this round's replies show the patterns of the rounds before: [{"domain", "kind",
                "value", "sft", "early", "late"}]
        fast_accuracy      accuracy of the round's reward model on the fast pairs of the round before, and that of the
                reward model before it: {"before", "after", "pairs"}, or null where there are none
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_core.checkpoint.replacing import new_folder
from internlm2_core.evaluation.written import write_json

from internlm2_align.online.rounds import Rounds, early_actor, finished, pattern_course
from internlm2_align.preferences.preference import Preference
from internlm2_align.preferences.sources import read_preferences
from internlm2_align.reward.model import RewardModel

SCHEMA = "internlm2/align/online_rlhf/1"


def online_rlhf(
    rounds: Rounds, reward: str, output: str, number: int = 3, first_ppo: str | None = None
) -> dict[str, Any]:
    """Run the rounds. A run that was stopped resumes, and what is done is not done again.

    Args:
        rounds: How to run them.
        reward: Folder of the reward model of round 1.
        output: Folder of the run.
        number: Of rounds (report 4.2.2).
        first_ppo: A finished PPO run with this reward model, taken for round 1.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        FileNotFoundError: If a model or file is missing, or ``first_ppo`` holds no finished run.
        ValueError: If ``number`` is below 1, or ``first_ppo`` was run with other models.
    """
    if number < 1:
        raise ValueError(f"number={number} of rounds must be 1 or more.")
    if first_ppo:
        _check_first(Path(first_ppo), {"checkpoint": rounds.checkpoint, "reward": reward})
    root, entries, audits = Path(output), list[dict[str, Any]](), list[Path]()
    model, ppo = Path(reward), Path()
    for round_ in range(1, number + 1):
        folder = root / f"round-{round_}"
        entry: dict[str, Any] = {"round": round_, "reward": None, "fast_accuracy": None}
        if audits:
            before, model = model, folder / "reward" / "model"
            entry["reward"] = rounds.train_reward(audits, folder / "reward")
            added = [pair for path in rounds.added(audits[-1]) for pair in read_preferences(path)]
            entry["fast_accuracy"] = _fast_accuracy(added, before, model)
        ppo = Path(first_ppo) if first_ppo and not audits else folder / "ppo"
        entry["ppo"] = rounds.run_ppo(model, ppo)
        entry["audit"] = rounds.run_audit(model, ppo, folder / "audit", round_)
        earlier = [pattern for past in entries for pattern in past["audit"]["patterns"]]
        entry["earlier_patterns"] = pattern_course(earlier, folder / "audit" / "replies.jsonl")
        audits.append(folder / "audit")
        entries.append(entry)
    _copy(ppo / "model", root / "model")
    _copy(model, root / "reward")
    metrics = {"schema": SCHEMA, "annotator": type(rounds.annotator).__name__, "rounds": entries}
    write_json(root / "metrics.json", metrics)
    return metrics


def _check_first(ppo: Path, models: Mapping[str, str]) -> None:
    figures = finished(ppo)
    if figures is None:
        raise FileNotFoundError(f"first_ppo={ppo} must be the folder of a finished run of `internlm2 ppo`.")
    early_actor(ppo)
    for name, folder in models.items():
        other = Path(figures.get(name, folder))
        if other.exists() and other.resolve() != Path(folder).resolve():
            raise ValueError(f"first_ppo={ppo} was run with {name}={other} instead of {name}={folder}.")


def _fast_accuracy(added: Sequence[Preference], before: Path, after: Path) -> dict[str, float] | None:
    shown = [pair for pair in added if "hacking" in pair.meta.get("slices", ())]
    if not shown:
        return None
    figures: dict[str, float] = {"pairs": len(shown)}
    for name, folder in (("before", before), ("after", after)):
        scores = RewardModel.load(folder).scorer().pairs(shown)
        figures[name] = sum(chosen > rejected for chosen, rejected in scores) / len(scores)
    return figures


def _copy(source: Path, target: Path) -> None:
    with new_folder(target) as draft:
        shutil.copytree(source, draft, dirs_exist_ok=True)
