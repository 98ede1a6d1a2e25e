"""The job ``internlm2 reward``: a conditional reward model from preference pairs.

Writes ``OUTPUT/model`` (released reward layout with its condition table) and, last, ``OUTPUT/metrics.json``:

    schema        "internlm2/align/reward/1"
    checkpoint    folder of the language model that it started from
    conditional   whether condition prompts were used
    pairs         {"train": counts, "heldout": counts}: used; skipped as identical, empty_reply, empty_prompt, too_long;
                  in train also duplicate, contradicting, question_is_held_out
    steps, epochs, seconds, pairs_per_second, fill_rate (share of the token budget that is used)
    curve         [{"step", "loss", "accuracy", "largest_score"}]: means over stretches of training
    heldout       {"pairs", "accuracy", "margin", "calibration_error", "domains": {DOMAIN: {the same four, "histogram":
                  {"edges", "counts"}, "slices": {SLICE: the same four}}}}, or null without held-out pairs.
                  SLICE "conflicting" holds the questions that two domains answer differently, "opposed" the pairs that
                  another domain has the other way round.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from internlm2_core.evaluation.written import write_json

from internlm2_align.reward.conditions import Unconditional
from internlm2_align.reward.recipe import RewardRecipe
from internlm2_align.reward.sources import PreferenceFile, all_preferences
from internlm2_align.reward.splits import deduplicated, split_by_question, without_questions

SCHEMA = "internlm2/align/reward/1"


def reward(
    recipe: RewardRecipe,
    checkpoint: str,
    preferences: Sequence[str | PreferenceFile],
    heldout: Sequence[str | PreferenceFile],
    output: str,
    heldout_share: float = 0.0,
) -> dict[str, Any]:
    """Train a reward model and measure it. A run that was stopped goes on.

    Args:
        recipe: How to train.
        checkpoint: Folder of the SFT model.
        preferences: Files of training pairs; plain paths hold our own records.
        heldout: Files of held-out pairs; their questions are left out of training.
        output: Folder of the run.
        heldout_share: Share of the questions of ``preferences`` that is held out too.

    Returns:
        What ``metrics.json`` holds; nothing on ranks other than the first.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If no usable pair is left, or a pair names an unknown domain.
    """
    left_out: Counter[str] = Counter()
    found, split_off = split_by_question(deduplicated(all_preferences(preferences), left_out), heldout_share)
    held = [*deduplicated(all_preferences(heldout), Counter()), *split_off]
    training = without_questions(found, held, left_out)
    trained = recipe.train(checkpoint, training, Path(output))
    if not trained.is_first_rank:
        return {}
    figures, held_counts = recipe.measure(trained.folder, held)
    metrics = {
        "schema": SCHEMA,
        "checkpoint": checkpoint,
        "conditional": not isinstance(recipe.conditions, Unconditional),
        "pairs": {"train": {**trained.counts, **left_out}, "heldout": held_counts},
        **trained.figures,
        "heldout": figures,
    }
    write_json(Path(output) / "metrics.json", metrics)
    return metrics
