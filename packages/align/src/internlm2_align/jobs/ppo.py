"""The job ``internlm2 ppo``: proximal policy optimisation from an SFT and a reward model.

Writes ``OUTPUT/model`` (the actor that is best on validation), ``OUTPUT/last``, ``OUTPUT/snapshots/iteration-N``, in
released layout, and, last, ``OUTPUT/metrics.json``:

    schema              "internlm2/align/ppo/1"
    checkpoint, reward  the folders that it started from
    judge               name of the judge whose figures are logged beside the reward ("SimulatedAnnotator"), or null
    prompts             {"train", "heldout"}: counts used, other_task, too_long, duplicate, malformed. In train also
                        question_is_held_out
    iterations, warmup_iterations, seconds
    start, best, last   validations before PPO, at the best held-out reward (that of iteration 0 if no later one is
                        better: then ``model`` is the SFT model), and at the end: {"iteration",
                        "valid/reward", "valid/kl", "valid/length", "valid/finished", "valid/judge"}, each over all
                        held-out prompts and by domain as "valid/reward/DOMAIN"
    history             one entry an iteration: {"iteration", "critic_only"} and the figures of docs/ppo.md as
                        "train/NAME". Those of the actor's steps are missing while only the critic learns, those of the
                        engine where it tells no log-probabilities, and all where the iteration was left out:
                        "left_out" then names those that were not finite. And one as above for each validation

Rewards are the reward model's. Divergence is in nats per response, entropy, mismatch and pre-train loss in nats per
token. The judge's figures lie in [0, 1].
"""

import logging
import time
from pathlib import Path
from typing import Any

import lightning as L
from internlm2_core.evaluation.written import write_json
from internlm2_core.jobs import train

from internlm2_align.ppo.data import PromptData
from internlm2_align.ppo.system import PPOSystem

SCHEMA = "internlm2/align/ppo/1"
log = logging.getLogger(__name__)


def ppo(
    module: PPOSystem,
    data: PromptData,
    trainer: L.Trainer,
    output: str,
    seed: int = 1,
    checkpoint: str = "",
    reward: str = "",
) -> dict[str, Any]:
    """Run PPO. A run that was stopped resumes.

    Args:
        module: The four models and how they are trained.
        data: What is asked.
        trainer: Lightning's, with `SaveActors` among its callbacks.
        output: Folder of the run.
        seed: Of all that is random and not seeded elsewhere.
        checkpoint: Folder of the SFT model, for the record.
        reward: Folder of the reward model, for the record.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        FileNotFoundError: If a model or file is missing.
        ValueError: If no prompt is left, a domain has no condition, or the Trainer stopped before the first validation.
    """
    start = time.perf_counter()
    train(module, data, trainer, output, seed)
    if not any(entry["iteration"] and "valid/reward" in entry for entry in module.history):
        raise ValueError(
            f"The run was stopped after {module.iteration} iterations, before its first validation at "
            f"val_check_interval={trainer.val_check_interval}."
        )
    metrics = {
        "schema": SCHEMA,
        "checkpoint": checkpoint,
        "reward": reward,
        "judge": None if module.judge is None else type(module.judge).__name__,
        "prompts": data.counts,
        "seconds": round(time.perf_counter() - start, 2),
        **course(module),
    }
    if not trainer.is_global_zero:
        return metrics
    if metrics["best"]["iteration"] == 0:
        log.warning(
            "no validation was better than that of %s (reward %.3f), which OUTPUT/model therefore is. The last actor "
            "is OUTPUT/last (reward %.3f).",
            checkpoint or "the model that PPO began with",
            metrics["start"]["valid/reward"],
            metrics["last"]["valid/reward"],
        )
    write_json(Path(output) / "metrics.json", metrics)
    return metrics


def course(system: PPOSystem) -> dict[str, Any]:
    """The history, and the validations at its start, its best reward and its end."""
    validations = [entry for entry in system.history if "valid/reward" in entry]
    return {
        "iterations": system.iteration,
        "warmup_iterations": system.settings.warmup_iterations,
        "start": validations[0],
        "best": max(validations, key=lambda entry: entry["valid/reward"]),
        "last": validations[-1],
        "history": system.history,
    }
