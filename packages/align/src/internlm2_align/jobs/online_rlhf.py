"""The job ``internlm2 online_rlhf``: rounds of PPO with a reward model that learns from each round (report 4.2.2).

Writes ``OUTPUT/round-K/{reward,ppo,audit,labels,preferences}`` (see `internlm2_align.online.rounds`),
``OUTPUT/state.json`` (where it is), ``OUTPUT/model`` (the best actor of the last round), ``OUTPUT/reward`` (its reward
model), and, last, ``OUTPUT/metrics.json``:

    schema      "internlm2/align/online_rlhf/1"
    annotator   name of its class, as "SimulatedAnnotator", for which no person has judged
    rounds      one entry a round:
        round   from 1
        reward  null in round 1 (given), else {"pairs", "steps", "seconds", ..., "heldout"} as in the job `reward`
        ppo     figures as in the job `ppo`: "start", "best", "last", "history", ...
        audit   {"patterns": [{"domain", "kind", "value", "early", "late", "reward_gain", "judged_gain"}],
                "fast_pairs", "fast_pairs_written", "slow_pairs", "heldout_pairs",
                "labels": {"comparisons" and what became of them, "annotators": {NAME: judgements}},
                "wins": {MODEL: {"share", "comparisons"}}: how often its reply was preferred over another model's,
                "models": {"sft" | "early" | "late": {"reward", "characters", "judged" by an annotator that scores}}},
                an audit after the fact, which may find no pattern
        earlier_patterns   how often this round's replies show the patterns of the rounds before: [{"domain", "kind",
                "value", "sft", "early", "late"}]
        fast_accuracy      accuracy of the round's reward model on the fast pairs of the round before, and that of the
                reward model before it: {"before", "after", "changed", "pairs", "domains"}, or null where there are none
        label_accuracy     what the labels of the round before changed: {"heldout", "trained"}, each as above

A run that waits for labels writes no ``metrics.json`` and ends well.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from internlm2_core.checkpoint.configs import CONDITIONS_FILE
from internlm2_core.checkpoint.replacing import new_folder
from internlm2_core.evaluation.written import write_json

from internlm2_align.labelling.enough import check_least
from internlm2_align.labelling.instructions import ScoringAnnotator
from internlm2_align.online.changes import changes
from internlm2_align.online.rounds import Rounds, early_actor, files_of, pattern_course
from internlm2_align.online.state import finished, label_command, read_state, waiting, write_state
from internlm2_align.preferences.sources import read_preferences

SCHEMA = "internlm2/align/online_rlhf/1"


def online_rlhf(
    rounds: Rounds, reward: str, output: str, number: int = 3, first_ppo: str | None = None
) -> dict[str, Any]:
    """Run the rounds. A run that was stopped, or waited for labels, resumes, and what is done is not done again.

    Args:
        rounds: How to run them.
        reward: Folder of the reward model of round 1.
        output: Folder of the run.
        number: Of rounds (report 4.2.2).
        first_ppo: A finished PPO run with this reward model, taken for round 1.

    Returns:
        What ``metrics.json`` holds, or what ``state.json`` holds if the run waits for labels.

    Raises:
        FileNotFoundError: If a model or file is missing, or ``first_ppo`` holds no finished run.
        ValueError: If ``number`` is below 1, ``rounds.least`` cannot be met, or ``first_ppo`` has other models.
    """
    if number < 1:
        raise ValueError(f"number={number} of rounds must be 1 or more.")
    if first_ppo:
        _check_first(Path(first_ppo), {"checkpoint": rounds.checkpoint, "reward": reward})
    if rounds.least is not None and not isinstance(rounds.annotator, ScoringAnnotator):
        rounds.data.setup()
        check_least(rounds.least, {prompt.domain for prompt in rounds.data.prompts})
    root, entries, past = Path(output), list[dict[str, Any]](), list[Path]()
    model, ppo = Path(reward), Path()
    for round_ in range(1, number + 1):
        folder = root / f"round-{round_}"
        entry: dict[str, Any] = {"round": round_, "reward": None, "fast_accuracy": None, "label_accuracy": None}
        if past:
            write_state(root, round_, "reward", f"Round {round_} of {number} trains its reward model.")
            before, model = model, folder / "reward" / "model"
            entry["reward"] = rounds.train_reward(past, folder / "reward")
            entry |= _learnt(past[-1], before, model, folder / "changes.json", rounds.max_tokens)
        write_state(root, round_, "ppo", f"Round {round_} of {number} runs PPO.")
        ppo = Path(first_ppo) if first_ppo and not past else folder / "ppo"
        entry["ppo"] = rounds.run_ppo(model, ppo)
        write_state(root, round_, "audit", f"Round {round_} of {number} is audited.")
        if round_ == number and not finished(folder / "audit"):
            _copy(ppo / "model", root / "model")
            _copy(model, root / "reward")
        entry["audit"] = rounds.run_audit(model, ppo, folder / "audit", round_)
        if not finished(folder / "preferences") and (waits := _wait(rounds, root, round_, model)):
            return waits
        entry["audit"] |= finished(folder / "preferences") or {}
        earlier = [pattern for done in entries for pattern in done["audit"]["patterns"]]
        entry["earlier_patterns"] = pattern_course(earlier, folder / "audit")
        past.append(folder / "preferences")
        entries.append(entry)
    metrics = {"schema": SCHEMA, "annotator": type(rounds.annotator).__name__, "rounds": entries}
    write_json(root / "metrics.json", metrics)
    write_state(root, number, "done", f"All {number} rounds are done.")
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


def _wait(rounds: Rounds, root: Path, round_: int, reward: Path) -> dict[str, Any] | None:
    """The pairs of a round that has enough labels, or the state of one that waits for more."""
    folder = root / f"round-{round_}"
    labels, lacking = rounds.label(folder / "audit", folder / "labels")
    if not lacking:
        rounds.add_preferences(folder / "audit", labels, folder / "preferences")
        return None
    command = label_command(folder / "audit" / "comparisons.jsonl", folder / "labels", reward / CONDITIONS_FILE)
    status = waiting(round_, labels, lacking, command)
    counts = {domain: {"there": there, "wanted": wanted} for domain, (there, wanted) in lacking.items()}
    write_state(root, round_, "labels", status, command=command, labels=counts)
    print(status)
    return read_state(root)


def _learnt(preferences: Path, before: Path, after: Path, file: Path, max_tokens: int) -> dict[str, Any]:
    """What the pairs of a round changed in the next reward model. It is worked out once and kept in a file."""
    if not file.is_file():
        read = {name: list(read_preferences(files_of(preferences, name))) for name in ("fast", "slow", "heldout")}
        found = changes(read, before, after, max_tokens)
        labels = {"trained": found["slow"], "heldout": found["heldout"]}
        write_json(file, {"fast_accuracy": found["fast"], "label_accuracy": labels})
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _copy(source: Path, target: Path) -> None:
    with new_folder(target) as draft:
        shutil.copytree(source, draft, dirs_exist_ok=True)
