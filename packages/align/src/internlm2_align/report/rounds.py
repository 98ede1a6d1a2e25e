"""Rounds of online RLHF: gains, hacking, wins, labels and what they changed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_records.report import (
    Block,
    Cell,
    Chart,
    Column,
    Found,
    Heading,
    Line,
    Row,
    Table,
    Text,
    json_reader,
)  # fmt: skip

from internlm2_align.report.agreement import agreement_of
from internlm2_align.report.annotators import agreement_table, annotator_table, is_simulated, spoken_name
from internlm2_align.report.policy import best_and_worst, examples, ppo_charts, samples_of
from internlm2_align.report.reward import outcomes

MODELS = {"sft": "SFT model", "early": "early policy", "late": "late policy"}
PATTERN = (
    Column("early", "share"),
    Column("late", "share", better="lower"),
    Column("reward gain", digits=2),
    Column("witness's gain", digits=2),
    Column("verdict", "text"),
)
CHANGE = (
    Column("pairs", "count"),
    Column("before", "share"),
    Column("after", "share", better="higher"),
    Column("changed", "share"),
)
ROUND_CHARTS = 3
"""Charts of the PPO run of a round. The page of PPO has the others."""
read_metrics = json_reader("annotator", "rounds", schema="internlm2/align/online_rlhf/1")


def read_rounds(path: Path, columns: Mapping[str, str]) -> dict[str, Any]:
    """Figures of ``internlm2 online_rlhf``, with replies of each round and agreement of people beside them.

    Args:
        path: Its ``metrics.json``.
        columns: Not used.
    """
    figures = read_metrics(path, columns)
    for entry in figures["rounds"]:
        folder = path.parent / f"round-{entry['round']}"
        entry["samples"] = samples_of(folder / "ppo" / "rollouts") or audited(folder / "audit")
        entry["agreement"] = agreement_of(folder / "labels")
    return figures


def audited(audit: Path) -> dict[str, Any] | None:
    """The late replies of an audit that scored best and worst, with their prompts where these are known.

    Args:
        audit: Folder of the audit.
    """
    asked = {record["record"]: record["messages"] for record in _records(audit / "prompts.jsonl")}
    rows = [
        {
            "prompt": "\n".join(str(message["content"]) for message in asked.get(reply["record"], [])),
            "reply": reply["text"],
            "score": reply["reward"],
            "domain": reply["domain"],
            "judged": reply.get("judged"),
        }
        for reply in _records(audit / "replies.jsonl")
        if reply["model"] == "late"
    ]
    return {"of": "the late policy in the audit", "replies": len(rows), **best_and_worst(rows)} if rows else None


def _records(file: Path) -> list[dict[str, Any]]:
    """Objects of a file of JSON lines. None where it was not written."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def show_rounds(found: Sequence[Found]) -> Iterator[Block]:
    """All rounds side by side, then each of them."""
    for each in found:
        annotator = spoken_name(each.figures["annotator"])
        yield each.heading
        yield Text(
            "After each round the replies of the SFT, the early and the late model are compared. Patterns of reward "
            f"hacking give the few pairs of the fast path. Replies labelled by {annotator} give those of the slow path."
            " The next round's reward model learns from all. The audit looks back at a finished round and may find "
            "nothing."
        )
        yield rounds_table(each.figures, each.simulated)
        yield wins_table(each.figures["rounds"], each.simulated)
        yield from _changes(each)
        yield from _patterns(each)
        yield from _labels(each)
        for entry in each.figures["rounds"]:
            yield Heading(f"PPO of round {entry['round']}", simulated=each.simulated)
            yield from ppo_charts(entry["ppo"], ROUND_CHARTS, each.simulated)
            yield from examples(entry.get("samples"))


def rounds_table(figures: Mapping[str, Any], simulated: bool) -> Table:
    """What reward model and PPO of every round reached.

    Args:
        figures: What ``online_rlhf`` wrote.
        simulated: Whether the simulated annotator judged.
    """
    judge = "simulated annotator" if is_simulated(figures["annotator"]) else "judge"
    columns = [
        Column("reward accuracy", "share", better="higher"),
        Column("reward before"), Column("reward best", better="higher"),
        Column(f"{judge} before"), Column(f"{judge} best", better="higher"),
        Column("patterns", "count", better="lower"), Column("fast pairs", "count"), Column("slow pairs", "count"),
        Column("held-out pairs", "count"),
    ]  # fmt: skip
    rows = []
    for entry in figures["rounds"]:
        held = (entry["reward"] or {}).get("heldout") or {}
        start, best, audit = entry["ppo"]["start"], entry["ppo"]["best"], entry["audit"]
        gains = [place.get(f"valid/{name}") for name in ("reward", "judge") for place in (start, best)]
        pairs = [audit.get(name) for name in ("fast_pairs", "slow_pairs", "heldout_pairs")]
        rows.append(Row(f"round {entry['round']}", [held.get("accuracy"), *gains, len(audit["patterns"]), *pairs]))
    note = "Round 1 has the reward model that was given."
    return Table("Rounds", "round", columns, rows, note, simulated)


def wins_table(rounds: Sequence[Mapping[str, Any]], simulated: bool) -> Table:
    """How often a model's reply was preferred over another model's.

    Args:
        rounds: Entries of the rounds.
        simulated: Whether the simulated annotator judged.
    """
    won = [entry["audit"].get("wins") or {} for entry in rounds]
    rows = [
        Row(
            words,
            [
                Cell(wins[model]["share"], f"of {wins[model]['comparisons']:,}") if model in wins else None
                for wins in won
            ],
        )
        for model, words in MODELS.items()
    ]
    columns = [Column(f"round {entry['round']}", "bar", better="higher") for entry in rounds]
    note = "Share of comparisons with another model's reply that were won. Ties are left out."
    return Table("Wins", "model", columns, rows, note, simulated)


def _changes(each: Found) -> Iterator[Block]:
    """What the pairs of a round changed in the next round's reward model."""
    rows = []
    for entry in each.figures["rounds"]:
        labels = entry.get("label_accuracy") or {}
        sets = {
            "fast path": entry.get("fast_accuracy"),
            "slow path": labels.get("trained"),
            "held out": labels.get("heldout"),
        }
        for name, change in sets.items():
            if change:
                rows.append(Row(f"round {entry['round']}, {name}", _change(change), strong=True))
                rows += [Row(domain, _change(own), level=1) for domain, own in (change.get("domains") or {}).items()]
    if rows:
        note = (
            "Accuracy on the pairs of the round before: that of the reward model before it, and of the one that has "
            "learnt from them. Held-out pairs were not learnt from. Changed: pairs whose other reply is preferred now."
        )
        yield Table("What the labels changed", "pairs of the round before", CHANGE, rows, note, each.simulated)


def _change(change: Mapping[str, Any]) -> list[Any]:
    return [change.get(name) for name in ("pairs", "before", "after", "changed")]


def _patterns(each: Found) -> Iterator[Block]:
    """How often replies show what pays without being worth it, when it was found and later."""
    course: dict[str, list[tuple[int, float]]] = {}
    for entry in each.figures["rounds"]:
        for pattern in [*entry["audit"]["patterns"], *(entry.get("earlier_patterns") or [])]:
            course.setdefault(_name(pattern), []).append((entry["round"], pattern["late"]))
        if not (patterns := entry["audit"]["patterns"]):
            yield Text(f"Found after round {entry['round']}: no pattern of reward hacking.", soft=True)
            continue
        rows = [
            Row(_name(p), [p["early"], p["late"], p["reward_gain"], p["judged_gain"], p.get("verdict")])
            for p in patterns
        ]
        note = "Share of early and late replies that show a pattern, and what it is worth to the reward model."
        yield Table(f"Hacking found after round {entry['round']}", "pattern", PATTERN, rows, note, each.simulated)
    lines = [Line(name, [n for n, _ in at], [share for _, share in at], dots=True) for name, at in course.items()]
    if any(len(line.xs) > 1 for line in lines):
        yield Chart("Share of late replies that show a pattern", lines, "round", simulated=each.simulated)


def _name(pattern: Mapping[str, Any]) -> str:
    return f"{pattern['domain']}, {pattern['kind']}: {pattern['value']}"


def _labels(each: Found) -> Iterator[Block]:
    """Who judged what of every round, and how far people agreed."""
    rounds = [entry for entry in each.figures["rounds"] if entry["audit"].get("labels")]
    if not rounds:
        return
    yield outcomes("Labels", {f"round {e['round']}": e["audit"]["labels"] for e in rounds}, each.simulated)
    total: dict[str, int] = {}
    for entry in rounds:
        for name, count in (entry["audit"]["labels"].get("annotators") or {}).items():
            total[name] = total.get(name, 0) + count
    yield from annotator_table({"annotators": total}, each.simulated)
    for entry in rounds:
        if entry.get("agreement"):
            yield Text(f"Round {entry['round']}.")
            yield from agreement_table(entry["agreement"], each.simulated)
