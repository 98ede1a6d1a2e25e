"""The job ``internlm2 reward``: a conditional reward model from preference pairs.

Writes ``OUTPUT/model`` (released reward layout with its condition table) and, last, ``OUTPUT/metrics.json``:

    schema        "internlm2/align/reward/1"
    checkpoint    folder of the language model that it started from
    conditional   whether condition prompts were used
    pairs         {"train": counts, "heldout": counts}: used, skipped as identical, empty_reply, empty_prompt, too_long,
                  duplicate, contradicting. Records that are malformed or give no_pair. In train also
                  question_is_held_out
    steps, epochs
    seconds, pairs_per_second   of the last attempt, where the run was stopped and went on
    fill_rate     share of the token budget that is used
    curve         [{"step", "loss", "accuracy", "largest_score"}]: means over stretches of training
    heldout       {"pairs", "accuracy", "margin", "calibration_error", "domains": {DOMAIN: {the same four, "histogram":
                  {"edges", "counts"}, "hard_gap", "slices": {SLICE: the same four}}}}, or null without held-out pairs.
                  SLICE "conflicting" holds the questions that two domains answer differently, "opposed" the pairs that
                  another domain has the other way round, "hard" and "easy" those whose meta.score_gap is below hard_gap
                  or not, unless their own slices name one of the two.
"""

from pathlib import Path
from typing import Any

import lightning as L
from internlm2_core.evaluation.written import write_json
from internlm2_core.jobs import train
from internlm2_core.shares import replicas_of

from internlm2_align.reward.callbacks import Curve
from internlm2_align.reward.conditions import Unconditional
from internlm2_align.reward.data import PreferenceData
from internlm2_align.reward.evaluation import pair_figures
from internlm2_align.reward.model import RewardModel

SCHEMA = "internlm2/align/reward/1"


def reward(
    module: RewardModel,
    data: PreferenceData,
    trainer: L.Trainer,
    output: str,
    seed: int = 1,
    checkpoint: str = "",
    hard_gap: float | None = None,
) -> dict[str, Any]:
    """Train a reward model and measure it. A run that was stopped resumes.

    Args:
        module: What is trained.
        data: Training and held-out pairs.
        trainer: Lightning's, with `Curve` and `SaveReward` (into ``OUTPUT/model``) among its callbacks.
        output: Folder of the run.
        seed: Of all that is random and not seeded elsewhere.
        checkpoint: Folder of the model that training starts from, for the record.
        hard_gap: Held-out pairs whose ``meta["score_gap"]`` is below it count as hard. None takes each domain's median.

    Returns:
        What ``metrics.json`` holds, and nothing on ranks other than the first.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If no usable pair is left, or a pair names an unknown domain.
    """
    # Before training: a run of hours should not end at a held-out pair that cannot be scored.
    data.setup()
    train(module, data, trainer, output, seed)
    if not trainer.is_global_zero:
        return {}
    replicas = replicas_of(trainer)
    steps = data.steps_per_pass(replicas)
    [curve] = [callback for callback in trainer.callbacks if isinstance(callback, Curve)]  # type: ignore[attr-defined]
    metrics = {
        "schema": SCHEMA,
        "checkpoint": checkpoint,
        "conditional": not isinstance(data.encoder.conditions, Unconditional),
        "pairs": {side: dict(counts) for side, counts in data.counts.items()},
        "steps": trainer.global_step,
        "epochs": round(getattr(module.schedule, "total_steps", steps) / steps),
        "seconds": round(curve.seconds, 2),
        "pairs_per_second": round(curve.pairs * replicas / max(curve.seconds, 1e-9), 1),
        "fill_rate": data.loader(0, replicas).fill_rate(),
        "curve": curve.points,
        "heldout": measured(Path(output) / "model", data, hard_gap),
    }
    write_json(Path(output) / "metrics.json", metrics)
    return metrics


def measured(folder: Path, data: PreferenceData, hard_gap: float | None = None) -> dict[str, Any] | None:
    """Figures of a model on held-out pairs, or None without any.

    Args:
        folder: Of the model. Under some strategies no rank has the whole network at hand after training.
        data: Its held-out pairs, encoder and budget.
        hard_gap: See `pair_figures`.
    """
    if not data.heldout_pairs:
        return None
    model = RewardModel.load(folder, data.encoder.conditions, data.encoder.max_tokens)
    scores = model.scorer(data.batches.budget_tokens).scores([encoded.group for encoded in data.heldout_pairs])
    sides = [(chosen, rejected) for chosen, rejected in scores]
    return pair_figures(data.heldout_preferences, sides, hard_gap)
