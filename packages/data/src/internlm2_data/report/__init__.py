"""What the data pipelines show in the report of a run: their funnels, and the vocabulary."""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from internlm2_records.report import Block, Cell, Column, Found, Part, Row, Section, Table, Text, json_reader

from internlm2_data.report.planted import PLANTED, planted_rows

FUNNEL = (
    Column("documents", "count"),
    Column("MB", "megabytes"),
    Column("kept", "bar"),
    Column("dropped", "count"),
    Column("main reasons", "text", compared=False),
)
MAIN = 4
"""Reasons that are shown for a stage."""

read_whole_funnel = json_reader("stages", "shares")


def read_funnel(path: Path, columns: Mapping[str, str]) -> dict[str, Any]:
    """Counts of each stage, without the list of single faults.

    Args:
        path: The file.
        columns: Not used.
    """
    value = read_whole_funnel(path, columns)
    stages = [{name: part for name, part in stage.items() if name != "faults"} for stage in value["stages"]]
    return {"stages": stages, "shares": value["shares"]}


def show_data(found: Sequence[Found]) -> Iterator[Block]:
    """What every stage of every pipeline kept."""
    yield Text("What every stage of the data pipelines kept. Shares are of the bytes that the pipeline began with.")
    for each in found:
        yield each.heading
        yield Table("", "stage", FUNNEL, funnel_rows(each.figures["stages"]))
        if rows := planted_rows(each.figures["stages"]):
            yield Table(
                "Planted pages, made up", "kind", PLANTED, rows, "Lines of these kinds were put into good text."
            )
        if len(shares := each.figures["shares"]) > 1:
            rows = [Row(cell, [share]) for cell, share in sorted(shares.items(), key=lambda item: -item[1])]
            yield Table("Bytes of the last stage by language and source", "", [Column("share", "bar")], rows)


def funnel_rows(stages: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Documents, bytes, share of the first stage's bytes, and reasons for dropping."""
    first = sum(stages[0]["bytes"].values()) if stages else 0
    rows = []
    for stage in stages:
        num_bytes = sum(stage["bytes"].values())
        reasons = {rule: sum(cells.values()) for rule, cells in stage["dropped"].items()}
        main = sorted(reasons.items(), key=lambda item: -item[1])[:MAIN]
        absent = stage["not_configured"]
        said = Cell(
            ", ".join(f"{rule} {count:,}" for rule, count in main) or None,
            f"not configured: {', '.join(absent)}" if absent else "",
        )
        share = num_bytes / first if first else 0.0
        documents = sum(stage["documents"].values())
        rows.append(Row(stage["stage"], [documents, num_bytes, share, sum(reasons.values()), said]))
    return rows


def show_vocabulary(found: Sequence[Found]) -> Iterator[Block]:
    """Bytes a token by language, beside other vocabularies where the job has measured some."""
    for each in found:
        card = each.figures
        digits = " Every digit is a token of its own." if card.get("single_digits") else ""
        yield each.heading
        yield Text(f"{card['size']:,} tokens, byte-level BPE.{digits} More bytes a token mean shorter sequences.")
        others = card.get("others") or {}
        names = [name for name, value in card["bytes_per_token"].items() if value]
        columns = [Column("bytes a token", digits=2, better="higher"), *(Column(name, digits=2) for name in others)]
        columns.append(Column("MB sampled", "megabytes"))
        sampled = card.get("sample_bytes") or {}
        rows = [
            Row(
                name,
                [
                    card["bytes_per_token"][name],
                    *(other["bytes_per_token"].get(name) for other in others.values()),
                    sampled.get(name),
                ],
            )
            for name in names
        ]
        sizes = ", ".join(f"{name} {other['size']:,}" for name, other in others.items())
        note = f"The other vocabularies encode the same texts. Their tokens: {sizes}." if others else ""
        yield Table("", "text", columns, rows, note)


def schemas() -> Mapping[str, Any]:
    """JSON Schema of the figures by kind."""
    read: dict[str, Any] = json.loads((files("internlm2_data") / "report/schema.json").read_text(encoding="utf-8"))
    return read


PART = Part(
    {"funnel": read_funnel, "vocabulary": json_reader("size", "bytes_per_token")},
    [
        Section("data", "Data", 10, ("funnel",), show_data),
        Section("tokenizer", "Tokenizer", 20, ("vocabulary",), show_vocabulary),
    ],
    schemas(),
)
