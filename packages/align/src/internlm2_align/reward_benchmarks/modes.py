"""With and without condition prompts: the two ways in which a reward model scores an item."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from internlm2_core.checkpoint.configs import CONDITIONS_FILE
from internlm2_records import Message

from internlm2_align.reward.conditions import ConditionTable, Unconditional, load_conditions

Prompts = Literal["both", "with", "without"]
WITH, WITHOUT = "with_conditions", "without_conditions"


class NoPrompts:
    """A table without prompts that knows every domain."""

    domains: Sequence[str] = ()

    def messages(self, domain: str, language: str = "en") -> list[Message]:
        """Nothing.

        Args:
            domain: Any.
            language: Any.
        """
        return []

    def save(self, path: Path) -> None:
        """It goes beside no weights."""
        raise NotImplementedError


def tables_of(checkpoint: str, conditions: str | None, prompts: Prompts) -> Mapping[str, ConditionTable]:
    """Condition tables by mode. A model without prompts is scored without, and that is said.

    Args:
        checkpoint: Folder of the reward model.
        conditions: File of a table, or None for the one beside the weights.
        prompts: Whether items are scored with condition prompts, without, or both.

    Raises:
        FileNotFoundError: If prompts alone are wanted, and there are none.
        ValueError: If ``prompts`` is unknown.
    """
    if prompts not in ("both", "with", "without"):
        raise ValueError(f"prompts={prompts} must be one of both, with, without.")
    if prompts == "without":
        return {WITHOUT: NoPrompts()}
    file = Path(conditions or Path(checkpoint) / CONDITIONS_FILE)
    own = load_conditions(file) if conditions or file.is_file() else None
    if own is not None and not isinstance(own, Unconditional):
        return {WITHOUT: NoPrompts(), WITH: own} if prompts == "both" else {WITH: own}
    lacks = f"{file} {'does not exist' if own is None else 'holds no prompts'}"
    if prompts == "with":
        raise FileNotFoundError(f"prompts=with needs condition prompts, but {lacks}. conditions=FILE names a table.")
    print(f"{lacks}: {checkpoint} is scored without condition prompts only.", flush=True)
    return {WITHOUT: NoPrompts()}
