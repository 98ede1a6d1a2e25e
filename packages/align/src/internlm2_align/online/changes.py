"""What labels changed: a reward model that has learnt from them against the one before it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_align.preferences.preference import Preference
from internlm2_align.reward.model import RewardModel


def changes(
    sets: Mapping[str, Sequence[Preference]], before: str | Path, after: str | Path, max_tokens: int = 8192
) -> dict[str, dict[str, Any] | None]:
    """Accuracy of two reward models on the same pairs.

    Args:
        sets: Pairs by name.
        before: Folder of the earlier model.
        after: Folder of the later one.
        max_tokens: Longest conversation.

    Returns:
        For each set ``{"pairs", "before", "after", "changed"}``, and the same by domain as ``domains``. ``changed`` is
        the share of pairs whose other reply is preferred now. None for a set without pairs.
    """
    if not any(sets.values()):
        return dict.fromkeys(sets)
    models = [RewardModel.load(folder, max_tokens=max_tokens).scorer() for folder in (before, after)]
    found: dict[str, dict[str, Any] | None] = {}
    for name, pairs in sets.items():
        if not pairs:
            found[name] = None
            continue
        first, second = ([chosen > rejected for chosen, rejected in model.pairs(pairs)] for model in models)
        domains = sorted({pair.domain for pair in pairs})
        rows = {domain: [row for row, pair in enumerate(pairs) if pair.domain == domain] for domain in domains}
        parts = {domain: _shares(first, second, rows[domain]) for domain in domains}
        found[name] = _shares(first, second, range(len(pairs))) | {"domains": parts}
    return found


def _shares(before: Sequence[bool], after: Sequence[bool], rows: Sequence[int]) -> dict[str, Any]:
    return {
        "pairs": len(rows),
        "before": sum(before[row] for row in rows) / len(rows),
        "after": sum(after[row] for row in rows) / len(rows),
        "changed": sum(before[row] != after[row] for row in rows) / len(rows),
    }
