"""The job ``internlm2 reward``: a conditional reward model from preference pairs.

Writes ``OUTPUT/model`` (released reward layout with its condition table) and, last, ``OUTPUT/metrics.json``:

    schema        "internlm2/align/reward/1"
    checkpoint    folder of the language model that it started from
    conditional   whether condition prompts were used
    pairs         {"train": counts, "heldout": counts}: used; skipped as identical, empty_reply, empty_prompt, too_long,
                  duplicate, contradicting; records that are malformed or give no_pair; in train also
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

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from internlm2_core.evaluation.written import write_json

from internlm2_align.preferences.sources import File, read_preferences
from internlm2_align.preferences.splits import deduplicated, split_by_question, without_questions
from internlm2_align.reward.conditions import Unconditional
from internlm2_align.reward.recipe import RewardRecipe

SCHEMA = "internlm2/align/reward/1"


def reward(
    recipe: RewardRecipe,
    checkpoint: str,
    preferences: File | Sequence[File],
    heldout: File | Sequence[File],
    output: str,
    heldout_share: float = 0.0,
    heldout_seed: int = 0,
    hard_gap: float | None = None,
) -> dict[str, Any]:
    """Train a reward model and measure it. A run that was stopped goes on.

    Args:
        recipe: How to train.
        checkpoint: Folder of the SFT model.
        preferences: Files of training pairs: paths of our own records, or the arguments of `PreferenceFile`.
        heldout: Files of held-out pairs, the same way; their questions are left out of training.
        output: Folder of the run.
        heldout_share: Share of the questions of ``preferences`` that is held out too.
        heldout_seed: Another one holds out other questions.
        hard_gap: Held-out pairs whose ``meta["score_gap"]`` is below it count as hard; None takes each domain's median.

    Returns:
        What ``metrics.json`` holds; nothing on ranks other than the first.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If no usable pair is left, or a pair names an unknown domain.
    """
    left_out, held_counts = Counter[str](), Counter[str]()
    pairs = read_preferences(preferences, left_out, recipe.on_bad)
    found, split_off = split_by_question(deduplicated(pairs, left_out), heldout_share, heldout_seed)
    named = read_preferences(heldout, held_counts, recipe.on_bad)
    held = list(deduplicated(chain(named, split_off), held_counts))
    # Before training: a run of hours should not end at a held-out pair that cannot be scored.
    measured = recipe.encode(held, recipe.encoder(checkpoint), held_counts, key="heldout")
    trained = recipe.train(checkpoint, without_questions(found, held, left_out), Path(output), left_out)
    if not trained.is_first_rank:
        return {}
    metrics = {
        "schema": SCHEMA,
        "checkpoint": checkpoint,
        "conditional": not isinstance(recipe.conditions, Unconditional),
        "pairs": {"train": trained.counts, "heldout": dict(+held_counts)},
        **trained.figures,
        "heldout": recipe.measure(trained.folder, measured, hard_gap),
    }
    write_json(Path(output) / "metrics.json", metrics)
    return metrics
