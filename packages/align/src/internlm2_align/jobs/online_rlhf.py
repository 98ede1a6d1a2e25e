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
                "models": {"sft" | "early" | "late": {"reward", "judged", "characters"}}};
                an audit after the fact, which may find no pattern
        earlier_patterns   how often this round's replies show the patterns of the rounds before: [{"domain", "kind",
                "value", "sft", "early", "late"}]
        fast_accuracy      accuracy of the round's reward model on the fast pairs of the round before, and that of the
                reward model before it: {"before", "after", "pairs"}; null where there are none
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_core.checkpoint.folder import new_folder
from internlm2_core.evaluation.written import write_json

from internlm2_align.online.rounds import OnlineRecipe, early_actor, finished, pattern_course
from internlm2_align.preferences.preference import Preference
from internlm2_align.preferences.sources import File, read_preferences
from internlm2_align.reward.model import RewardModel

SCHEMA = "internlm2/align/online_rlhf/1"


def online_rlhf(
    recipe: OnlineRecipe,
    checkpoint: str,
    reward: str,
    preferences: File | Sequence[File],
    heldout: File | Sequence[File],
    output: str,
    first_ppo: str | None = None,
) -> dict[str, Any]:
    """Run the rounds. A run that was stopped goes on.

    Args:
        recipe: How to run them.
        checkpoint: Folder of the SFT model, from which every round starts.
        reward: Folder of the reward model of round 1.
        preferences: Files of the pairs that it was trained on, as the job ``reward`` takes them.
        heldout: Files of held-out pairs, the same way.
        output: Folder of the run.
        first_ppo: A finished PPO run with this reward model, taken for round 1.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        FileNotFoundError: If a model or file is missing, or ``first_ppo`` holds no finished run.
        ValueError: If a stage asks for several ranks: between the stages one process works alone; or ``first_ppo`` was
            run with other models.
    """
    for name, stage in (("reward", recipe.reward), ("ppo", recipe.ppo)):
        if (ranks := stage.trainer().world_size) > 1:
            raise ValueError(
                f"stages.{name}.trainer asks for {ranks} ranks; rounds run on one (stages.{name}.trainer.devices=1), "
                "`internlm2 reward` and `internlm2 ppo` on several."
            )
    if first_ppo:
        _check_first(Path(first_ppo), {"checkpoint": checkpoint, "reward": reward})
    root = Path(output)
    pairs = list(read_preferences(preferences))
    held = list(read_preferences(heldout))
    rounds: list[dict[str, Any]] = []
    model, added = Path(reward), list[Preference]()
    for number in range(1, recipe.rounds + 1):
        folder = root / f"round-{number}"
        entry: dict[str, Any] = {"round": number, "reward": None, "fast_accuracy": None}
        if number > 1:
            before, model = model, folder / "reward" / "model"
            entry["reward"] = recipe.train_reward(checkpoint, pairs, held, folder / "reward")
            entry["fast_accuracy"] = _fast_accuracy(added, before, model)
        ppo = Path(first_ppo) if first_ppo and number == 1 else folder / "ppo"
        entry["ppo"] = recipe.run_ppo(checkpoint, model, ppo)
        entry["audit"] = recipe.run_audit(checkpoint, model, ppo, folder / "audit", number)
        earlier = [pattern for past in rounds for pattern in past["audit"]["patterns"]]
        entry["earlier_patterns"] = pattern_course(earlier, folder / "audit" / "replies.jsonl")
        added = recipe.added_pairs(folder / "audit")
        pairs += added
        rounds.append(entry)
    _copy(ppo / "model", root / "model")
    _copy(model, root / "reward")
    metrics = {"schema": SCHEMA, "annotator": type(recipe.annotator).__name__, "rounds": rounds}
    write_json(root / "metrics.json", metrics)
    return metrics


def _check_first(ppo: Path, models: Mapping[str, str]) -> None:
    figures = finished(ppo)
    if figures is None:
        raise FileNotFoundError(f"{ppo} holds no finished run of `internlm2 ppo`; set first_ppo=FOLDER or null.")
    early_actor(ppo)
    for name, folder in models.items():
        other = Path(figures.get(name, folder))
        if other.exists() and other.resolve() != Path(folder).resolve():
            raise ValueError(f"first_ppo={ppo} was run with {name}={other}, not {folder}; set {name}={other}.")


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
