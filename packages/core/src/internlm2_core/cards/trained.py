"""What a run says of the training of its model."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SETTINGS = "settings.json"
SAID = {
    "phase.context": "Context, tokens",
    "phase.batch_rows": "Rows of a batch",
    "phase.peak_lr": "Peak learning rate",
    "phase.warmup_steps": "Warm-up steps",
    "phase.rope_base": "RoPE base",
    "optimizer._target_": "Optimizer",
    "schedule._target_": "Schedule",
    "trainer.precision": "Precision",
    "seed": "Seed",
}
"""Settings that a card names. None of them is a path."""
WEIGHTS = "batches.weights."
RESULTS = ("model", "last", "snapshots", "checkpoints")
"""Where a run writes models and checkpoints."""


def settings_of(path: Path) -> Mapping[str, Any]:
    """Settings of the run that a checkpoint or a model folder lies in. Empty where it lies in none.

    Args:
        path: The checkpoint, or the model folder.
    """
    for below in (path.absolute(), *path.absolute().parents[:1]):
        if below.name in RESULTS and (below.parent / SETTINGS).is_file():
            folder = below.parent
            read: Mapping[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8")).get("settings", {})
            return read
    return {}


def training_rows(settings: Mapping[str, Any], steps: int | None) -> list[tuple[str, str]]:
    """Names and values of what a training was like.

    Args:
        settings: As `settings_of` gives them.
        steps: Optimizer steps that the checkpoint has taken, where that is known.
    """
    rows = [] if steps is None else [("Optimizer steps", f"{steps:,}")]
    for key, words in SAID.items():
        value = settings.get(key)
        if value is not None and "${" not in str(value):
            rows.append((words, f"{value:,}" if type(value) is int and key != "seed" else str(value)))
    if mixture := list(_mixture(settings)):
        rows.append(("Mixture", ", ".join(mixture)))
    return rows if steps is not None or "phase.context" in settings else []


def _mixture(settings: Mapping[str, Any]) -> Iterator[str]:
    """Shares of the sources, the largest first."""
    shares = {
        key.removeprefix(WEIGHTS): value
        for key, value in settings.items()
        if key.startswith(WEIGHTS) and isinstance(value, int | float)
    }
    total = sum(shares.values())
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        yield f"{name} {100 * share / total:.1f} %"
