"""The job ``internlm2 ppo``: proximal policy optimisation from an SFT and a reward model.

Writes ``OUTPUT/model`` (the actor that is best on validation), ``OUTPUT/last``, ``OUTPUT/snapshots/iteration-N``, in
released layout, and, last, ``OUTPUT/metrics.json``:

    schema              "internlm2/align/ppo/1"
    checkpoint, reward  the folders that it started from
    judge               name of the judge whose figures stand beside the reward ("SimulatedAnnotator"), or null
    prompts             {"train", "heldout"}: counts used, other_task, too_long
    iterations, warmup_iterations, seconds
    start, best, last   validations before PPO, at the best held-out reward, and at the end: {"iteration",
                        "valid/reward", "valid/kl", "valid/length", "valid/finished", "valid/judge"}, each over all
                        held-out prompts and by domain as "valid/reward/DOMAIN"
    history             one entry an iteration: {"iteration", "critic_only", "train/reward", "train/kl", "train/length",
                        "train/finished", "train/entropy", "train/explained_variance", "train/value_loss",
                        "train/policy_loss", "train/clip_fraction", "train/pretrain_loss"} (the last three are missing
                        while only the critic learns), and one as above for each validation

Rewards are the reward model's; divergence is in nats per response; the judge's figures lie in [0, 1].
"""

from pathlib import Path
from typing import Any

from internlm2_core.evaluation.written import write_json
from lightning.pytorch.utilities import rank_zero_only

from internlm2_align.ppo.recipe import PPORecipe

SCHEMA = "internlm2/align/ppo/1"


def ppo(recipe: PPORecipe, checkpoint: str, reward: str, output: str) -> dict[str, Any]:
    """Run PPO. A run that was stopped goes on.

    Args:
        recipe: How to run it.
        checkpoint: Folder of the SFT model.
        reward: Folder of the reward model.
        output: Folder of the run.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        FileNotFoundError: If a model or file is missing.
        ValueError: If no prompt is left, or a domain has no condition.
    """
    figures = recipe.run(checkpoint, reward, Path(output))
    judge = None if recipe.judge is None else type(recipe.judge).__name__
    metrics = {"schema": SCHEMA, "checkpoint": checkpoint, "reward": reward, "judge": judge, **figures}
    rank_zero_only(write_json)(Path(output) / "metrics.json", metrics)
    return metrics
