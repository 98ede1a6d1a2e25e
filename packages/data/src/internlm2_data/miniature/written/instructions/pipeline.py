"""`pipeline=instructions`."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from internlm2_data.executor import Executor
from internlm2_data.miniature.written.instructions.record import Record
from internlm2_data.miniature.written.instructions.sets import Shares, write_set
from internlm2_data.stages.manifest import write_json


@dataclass(frozen=True)
class InstructionsPipeline:
    """Writes `train.jsonl`, `prompts.jsonl`, `heldout.jsonl`, `lookalike.jsonl` and `counts.json`.

    The same seed gives the same bytes.

    Attributes:
        train: Records to train on.
        prompts: Records for annotators and PPO. A share of them is not in training.
        heldout: Records to test on.
        lookalike: Records of the reference set, written like the held-out ones from another seed.
        seed: Of all that is drawn.
        weights: Of tasks in training and prompts, 1 where none is given. The others have as many records of each task.
        shares: Shares of all instances kept away from training.
    """

    train: int
    prompts: int
    heldout: int
    lookalike: int
    seed: int = 1
    weights: Mapping[str, float] = field(default_factory=dict)
    shares: Shares = field(default_factory=Shares)

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """See `Pipeline`. Takes no inputs, and is done again each time, which takes a second or two.

        Raises:
            ValueError: If there are inputs, or a set asks for more instances than there are.
        """
        if inputs:
            raise ValueError(f"inputs={list(inputs)} must be [], since instructions are written from nothing.")
        sizes = {"train": self.train, "heldout": self.heldout, "lookalike": self.lookalike, "prompts": self.prompts}
        counts = {}
        for number, (name, count) in enumerate(sizes.items()):
            # Each set has a seed of its own. Sets of neighbouring seeds share none.
            weights = self.weights if name in ("train", "prompts") else {}
            records = write_set(name, count, len(sizes) * self.seed + number, self.shares, weights)
            write_jsonl(output / f"{name}.jsonl", records)
            counts[name] = count_records(records)
        write_json(output / "counts.json", {"seed": self.seed, "sets": counts})
        _show(counts)


def count_records(records: Sequence[Record]) -> dict[str, int]:
    """Records by task and language, "copying/en", and `records` and `different_questions` of all."""
    cells = Counter(f"{record['task']}/{record['language']}" for record in records)
    questions = {record["messages"][0]["content"] for record in records}
    return {"records": len(records), "different_questions": len(questions), **dict(sorted(cells.items()))}


def _show(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Print a table of the sets."""
    table = Table(title="instructions written by rule")
    table.add_column("")
    for name in counts:
        table.add_column(name, justify="right")
    for row in next(iter(counts.values())):
        table.add_row(row, *(str(count.get(row, 0)) for count in counts.values()))
    Console().print(table)


def write_jsonl(path: Path, records: Sequence[Record]) -> None:
    """Write records, a line each. The file is there when it is whole.

    Args:
        path: The file.
        records: What it holds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    part.replace(path)
