"""Time, memory, size and hashes of every stage."""

import shlex
from collections.abc import Iterator, Sequence

from internlm2_records.report import Block, Column, Found, Row, Table

COLUMNS = (
    Column("time", "seconds", better="lower"),
    Column("peak MB so far", "count", better="lower"),
    Column("output MB", "megabytes"),
    Column("configuration, code", "code", compared=False),
)
LONGEST = 140
"""Characters of a command line that are shown."""


def show_record(found: Sequence[Found]) -> Iterator[Block]:
    """A row for each stage."""
    for each in found:
        yield each.heading
        stages = each.figures["stages"]
        rows = []
        for stage in stages:
            hashes = f"{stage['config_hash'][:8]}, {stage['code_hash'][:8]}"
            values = [stage["seconds"], stage["peak_memory_mb"], stage["output_bytes"], hashes]
            command = shlex.join(stage["command"])
            shown = command if len(command) <= LONGEST else f"{command[:LONGEST]}…"
            rows.append(Row(stage["stage"], values, small=shown))
        total = [sum(stage["seconds"] for stage in stages), None, sum(stage["output_bytes"] for stage in stages), None]
        yield Table("", "stage", COLUMNS, [*rows, Row("all", total, strong=True)])
