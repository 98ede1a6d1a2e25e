"""The job ``internlm2 replay``: an iteration of PPO once more, from what `SaveRollouts` stored of it.

Writes ``OUTPUT/replay.md``, the best and the worst replies as a table, and, last, ``OUTPUT/replay.json``:

    schema          "internlm2/align/replay/1"
    run, iteration
    replies, tokens
    losses          {"reward", "policy_loss", "value_loss"} now, "logged": the same as the run logged them, as far as
                    they can be compared, "difference": {"advantages", "returns"}, the largest one from the stored ones
    rescored        {"reward", "before", "now", "difference", "pairs_turned", "losses"}, or null without ``reward``
    actor           {"actor", "mean", "largest"}: nats per token by which an actor is off, or null without ``actor``
    differs         sentences that say what is not as it was
"""

from pathlib import Path
from typing import Any

import torch
from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.evaluation.written import write_json, write_text
from rich.console import Console
from rich.table import Table
from rich.text import Text

from internlm2_align.ppo.replay import (
    HEADER,
    extremes,
    logprobs_compared,
    losses_again,
    markdown,
    scores_again,
    scores_compared,
    table_rows,
)
from internlm2_align.ppo.store import Stored, read_rollout
from internlm2_align.reward.model import RewardModel

SCHEMA = "internlm2/align/replay/1"
TOLERANCE = 1e-5
"""What sums in another order may differ by."""


def replay(
    run: str,
    iteration: int,
    output: str,
    reward: str | None = None,
    actor: str | None = None,
    show: int = 5,
    device: str = "auto",
) -> dict[str, Any]:
    """Compute an iteration's losses again, and say what differs.

    Args:
        run: Folder of a PPO run with ``rollouts/iteration-N.parquet``.
        iteration: Counted from 1.
        output: Folder of the result.
        reward: Folder of another reward model that scores the replies anew.
        actor: Folder of an actor whose log-probabilities are compared, such as the snapshot of the iteration before.
        show: Best and worst replies in the table, of each.
        device: Of the networks: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.

    Returns:
        What ``replay.json`` holds.

    Raises:
        FileNotFoundError: If run, iteration or a model is missing.
        ValueError: If ``show`` is below 1.
    """
    if show < 1:
        raise ValueError(f"show={show} must be 1 or more.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    stored = read_rollout(Path(run) / "rollouts", iteration)
    scores = None
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "run": run,
        "iteration": iteration,
        "replies": len(stored.rows),
        "tokens": stored.responses.tokens,
        "losses": losses_again(stored),
        "rescored": None,
        "actor": None,
    }
    if reward is not None:
        model = RewardModel.load(reward)
        model.net.to(device)
        scores = scores_again(stored, model.scorer())
        again = losses_again(stored, scores)
        losses = {name: again[name] for name in ("reward", "policy_loss", "value_loss")}
        found["rescored"] = {"reward": reward, **scores_compared(stored, scores), "losses": losses}
    if actor is not None:
        found["actor"] = {"actor": actor, **logprobs_compared(stored, load_model(actor).to(device))}
    found["differs"] = sentences(found)
    rows = table_rows(extremes(stored, show))
    show_table(rows, found, stored)
    write_text(Path(output) / "replay.md", f"# Iteration {iteration} of {run}\n\n{markdown(rows)}")
    write_json(Path(output) / "replay.json", found)
    return found


def sentences(found: dict[str, Any]) -> list[str]:
    """What is not as it was, in words. Empty where everything is.

    Args:
        found: See the head of this module.
    """
    losses, said = found["losses"], list[str]()
    for name, logged in losses["logged"].items():
        if abs(losses[name] - logged) > TOLERANCE:
            said.append(f"{name} is {losses[name]:.6g} now, and was logged as {logged:.6g}.")
    for name, gap in losses["difference"].items():
        if gap > TOLERANCE:
            said.append(f"{name} differ by up to {gap:.3g} from the stored ones.")
    if (rescored := found["rescored"]) and rescored["difference"] > TOLERANCE:
        said.append(
            f"{rescored['reward']} scores {rescored['now']:+.3f} on average where the run had "
            f"{rescored['before']:+.3f}, and orders {rescored['pairs_turned']:.1%} of the pairs of replies the other "
            "way round."
        )
    if (actor := found["actor"]) and actor["largest"] > 10 * TOLERANCE:
        said.append(f"{actor['actor']} is off by {actor['mean']:.3g} nats a token, {actor['largest']:.3g} at most.")
    return said


def show_table(rows: list[list[str]], found: dict[str, Any], stored: Stored) -> None:
    """Print the table, and what differs.

    Args:
        rows: Cells.
        found: See the head of this module.
        stored: The iteration.
    """
    table = Table(title=f"Iteration {found['iteration']}: {len(stored.rows)} replies", show_lines=True)
    for name in HEADER:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(Text, row))  # Text: what a model has written is not rich's markup
    console = Console()
    console.print(table)
    for line in found["differs"] or ["Losses, advantages and returns are as they were."]:
        console.print(Text(line))
