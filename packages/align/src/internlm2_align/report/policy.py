"""A run of PPO: what it gained, its curves, and its best and worst replies."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_records.report import Block, Chart, Column, Example, Found, Line, Row, Table, Text, json_reader

from internlm2_align.report.annotators import is_simulated, spoken_name

EXAMPLES = 3
"""Best and worst replies that are shown."""
LONGEST = 1500
"""Characters of a prompt or a reply that are shown."""

TRAIN, HELD = "training prompts", "held-out prompts"
CHARTS = (
    ("Reward model's score", (("train/reward", TRAIN), ("valid/reward", HELD))),
    ("Divergence from the SFT model, nats a reply", (("train/kl", TRAIN), ("valid/kl", HELD))),
    ("Tokens of a reply", (("train/length", TRAIN), ("valid/length", HELD))),
    ("Entropy, nats a token", (("train/entropy", TRAIN),)),
    ("Critic's explained variance", (("train/explained_variance", TRAIN),)),
    ("Pre-train loss, nats a token", (("train/pretrain_loss", "pre-training text"),)),
)
read_metrics = json_reader("start", "best", "last", "history", schema="internlm2/align/ppo/1")


def read_ppo(path: Path, columns: Mapping[str, str]) -> dict[str, Any]:
    """Figures of ``internlm2 ppo``, with replies of the last stored rollout beside them.

    Args:
        path: Its ``metrics.json``.
        columns: Not used.
    """
    return read_metrics(path, columns) | {"samples": samples_of(path.parent / "rollouts")}


def samples_of(rollouts: Path) -> dict[str, Any] | None:
    """The replies of the last stored iteration that scored best and worst. None where none is stored.

    Args:
        rollouts: Folder of the callback SaveRollouts.
    """
    numbers = [int(file.name.split("-")[1].split(".")[0]) for file in rollouts.glob("iteration-*.parquet")]
    if not numbers:
        return None
    from internlm2_align.ppo.store import read_rollout

    rows = [
        {
            "prompt": "\n".join(str(message["content"]) for message in json.loads(row["prompt"])),
            **{name: row[name] for name in ("reply", "score", "domain")},
        }
        for row in read_rollout(rollouts, max(numbers)).rows
    ]
    return {"of": f"iteration {max(numbers)}", "replies": len(rows), **best_and_worst(rows)}


def best_and_worst(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The ends of replies by score, none twice."""
    ranked = sorted({(row["prompt"], row["reply"]): row for row in rows}.values(), key=lambda row: -row["score"])
    most = min(EXAMPLES, len(ranked) // 2) or len(ranked)
    cut = [
        dict(row) | {name: row[name][:LONGEST] + "…" * (len(row[name]) > LONGEST) for name in ("prompt", "reply")}
        for row in [*ranked[:most], *ranked[most:][-most:]]
    ]
    return {"best": cut[:most], "worst": cut[most:][::-1]}


def show_ppo(found: Sequence[Found]) -> Iterator[Block]:
    """Gain on held-out prompts, curves and samples of each run."""
    for each in found:
        yield each.heading
        figures = each.figures
        yield Text(
            f"{figures['iterations']} iterations, of which {figures['warmup_iterations']} train the critic alone. The "
            f"best iteration on held-out prompts is {figures['best']['iteration']}."
        )
        yield gains("Held-out prompts", figures, each.simulated)
        yield from ppo_charts(figures, len(CHARTS), each.simulated)
        yield from examples(figures.get("samples"))


def gains(title: str, figures: Mapping[str, Any], simulated: bool) -> Table:
    """Held-out reward and judge's score before PPO and at the best iteration, over all and by domain.

    Args:
        title: Of the table.
        figures: What ``ppo`` wrote.
        simulated: Whether the reward rests on the simulated annotator.
    """
    start, best, judge = figures["start"], figures["best"], figures.get("judge")
    scores = [("valid/reward", "reward")]
    scores += [("valid/judge", spoken_name(judge).removeprefix("the "))] if judge else []
    columns = [Column(f"{name} {when}", better="higher") for _, name in scores for when in ("before", "best")]
    domains = [key.removeprefix("valid/reward/") for key in start if key.startswith("valid/reward/")]
    rows = [
        Row(label, [place.get(f"{key}{tail}") for key, _ in scores for place in (start, best)], strong=not tail)
        for label, tail in [("all", ""), *((domain, f"/{domain}") for domain in domains)]
    ]
    return Table(title, "domain", columns, rows, simulated=simulated)


def ppo_charts(figures: Mapping[str, Any], most: int, simulated: bool) -> Iterator[Chart]:
    """Course of a run, with the judge's score beside the reward that was optimised.

    Args:
        figures: What ``ppo`` wrote.
        most: Charts beside that of the judge.
        simulated: Whether the reward rests on the simulated annotator.
    """
    history, judge = figures["history"], figures.get("judge")
    title = "Simulated annotator's own score" if is_simulated(judge) else f"Score by {judge}"
    for number, (name, keys) in enumerate(CHARTS[:most]):
        yield Chart(name, [_line(history, key, label) for key, label in keys], "iterations", simulated=simulated)
        if number == 0 and judge:
            judged = [_line(history, "valid/judge", HELD)]
            yield Chart(title, judged, "iterations", simulated=is_simulated(judge))


def _line(history: Sequence[Mapping[str, Any]], key: str, label: str) -> Line:
    entries = [entry for entry in history if entry.get(key) is not None]
    xs = [entry["iteration"] for entry in entries]
    return Line(label, xs, [entry[key] for entry in entries], dots=len(entries) <= 40)


def examples(samples: Mapping[str, Any] | None) -> Iterator[Block]:
    """Replies that scored best and worst.

    Args:
        samples: As `best_and_worst` gives them, with what they are of.
    """
    if not samples:
        yield Text("No replies were stored. callbacks=[ppo,rollouts] stores them.", soft=True)
        return
    yield Text(
        f"Replies of {samples['of']} that the reward model scores highest and lowest, of {samples['replies']:,}."
    )
    for side in ("best", "worst"):
        for number, row in enumerate(samples[side], 1):
            figures = {name: row[name] for name in ("domain", "score", "judged") if row.get(name) is not None}
            yield Example(f"{side} {number}", row["prompt"], row["reply"], figures)
