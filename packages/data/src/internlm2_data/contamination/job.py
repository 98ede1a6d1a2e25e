"""The job `internlm2 contamination`, and what it writes.

matches.jsonl   a part of an item in a document: set, item, field, source, document, tokens, text, steps, times
items.jsonl     each item: set, id, share of question and answer that was given, first step, verdict, score
metrics.json    counts and scores by set and verdict
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from internlm2_records.progress import LineProgress

from internlm2_data.contamination.items import FIELDS, Field, Item, fields_of, read_items
from internlm2_data.contamination.matching import Matcher
from internlm2_data.contamination.seen import Seen
from internlm2_data.contamination.stream import stretches_of
from internlm2_data.stages.manifest import write_json

SCHEMA = "internlm2/data/contamination/1"
VERDICTS = ("clean", "dirty", "too_short")
MOST_STEPS = 20
"""Steps of a match that are written. ``times`` counts all."""


class Tokenizer(Protocol):
    """Spells ids, e.g. what ``internlm2_core.text.load_tokenizer`` gives."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""


def find_contamination(
    run: str,
    batches: Any,
    tokenizer: Tokenizer,
    items: Sequence[str] | Mapping[str, str],
    output: str,
    steps: int | None = None,
    fields: Mapping[str, Sequence[str]] = FIELDS,
    n: int = 13,
    least: int = 8,
    dirty_from: float = 0.7,
    most: int = 100,
) -> dict[str, Any]:
    """Find evaluation items in what a run was trained on, and the steps at which they were given.

    An item is dirty if at least ``dirty_from`` of the words of its question or of its answer were given, in parts of
    ``n`` neighbouring words or more. The share follows PaLM (arXiv 2204.02311), the length GPT-3 (arXiv 2005.14165).

    Args:
        run: Folder of the run.
        batches: What it was trained on: `PackedBatches`, `ChatBatches`, or several phases.
        tokenizer: That of the run.
        items: Files of items, in a list or by name of the set. Scores are split where records have ``correct`` or
            ``score``, such as those of ``samples/TASK.jsonl``.
        output: Folder of the results.
        steps: Steps of the run that count. None takes those of its ``training.json``.
        fields: Keys of question and answer in the records.
        n: Words of an n-gram, or characters of a script without spaces.
        least: Questions and answers with fewer words are not looked for.
        dirty_from: Share of a question or answer from which an item is dirty. 0 takes a single n-gram.
        most: Matches of each question and answer that are written. Others are counted.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        FileNotFoundError: If the items, or the steps of the run, are not there.
        ValueError: If a number is out of range.
    """
    if not 1 <= least <= n:
        raise ValueError(f"least={least} must be between 1 and n={n}.")
    if not 0 <= dirty_from <= 1:
        raise ValueError(f"dirty_from={dirty_from} must be between 0 and 1.")
    steps = steps_of(Path(run)) if steps is None else steps
    read = read_items(items, fields)
    wanted = fields_of(read, least)
    seen = Seen(Matcher(wanted, n), tokenizer.decode, most)
    read_all(seen, batches, steps)
    rows = judged(read, wanted, seen, dirty_from)
    settings = {"run": run, "steps": steps, "n": n, "least": least, "dirty_from": dirty_from}
    counts = {"documents": seen.documents, "characters": seen.characters, "matches": len(seen.matches)}
    sets = {name: figures([row for row in rows if row["set"] == name]) for name in dict.fromkeys(i.group for i in read)}
    metrics = {"schema": SCHEMA, **settings, **counts, "further": sum(seen.further.values()), "sets": sets}
    write_lines(Path(output) / "matches.jsonl", matches_of(read, wanted, seen))
    write_lines(Path(output) / "items.jsonl", rows)
    write_json(Path(output) / "metrics.json", metrics)
    for name, each in sets.items():
        print(f"{name}: " + ", ".join(f"{each[verdict]['items']} {verdict}" for verdict in VERDICTS))
    return metrics


def read_all(seen: Seen, batches: Any, steps: int) -> None:
    """Read what a run was given, and say how far that is.

    Args:
        seen: Where it is noted.
        batches: What the run was trained on.
        steps: Steps that it took.
    """
    with LineProgress() as bars:
        for stretch in stretches_of(batches, steps):
            tasks: dict[str, Any] = {}

            def progress(name: str, done: int, total: int, tasks: dict[str, Any] = tasks) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task(Path(name).name, total=total)
                bars.update(tasks[name], completed=done)

            seen.read(stretch, progress)


def steps_of(run: Path) -> int:
    """Steps that a finished run has taken.

    Raises:
        FileNotFoundError: If it has not written how many.
    """
    record = run / "training.json"
    if not record.is_file():
        raise FileNotFoundError(f"steps=None must be given, since {run} has no training.json of a finished run.")
    return int(json.loads(record.read_text("utf-8"))["steps"])


def judged(items: Sequence[Item], fields: Sequence[Field], seen: Seen, dirty_from: float) -> list[dict[str, Any]]:
    """A verdict on each item.

    Args:
        items: The items.
        fields: Their questions and answers, as far as they are long enough.
        seen: What was given of them.
        dirty_from: Share from which an item is dirty.
    """
    shares: dict[int, dict[str, float]] = {}
    for field, share in zip(fields, seen.coverage(fields), strict=True):
        shares.setdefault(field.item, {})[field.name] = share
    first: dict[int, int] = {}
    for match in seen.matches:
        owner = fields[match.field].item
        first[owner] = min(first.get(owner, match.steps[0]), match.steps[0])
    rows = []
    for number, item in enumerate(items):
        own = shares.get(number, {})
        is_dirty = any(share > 0 and share >= dirty_from for share in own.values())
        verdict = "too_short" if not own else "dirty" if is_dirty else "clean"
        about = {"set": item.group, "id": item.id, "question": own.get("question"), "answer": own.get("answer")}
        rows.append(about | {"first_step": first.get(number), "verdict": verdict, "score": item.score})
    return rows


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Items of a set by verdict, and the mean score of those that have one."""
    found: dict[str, Any] = {"items": len(rows)}
    for verdict in VERDICTS:
        own = [row for row in rows if row["verdict"] == verdict]
        scores = [row["score"] for row in own if row["score"] is not None]
        found[verdict] = {"items": len(own), "scored": len(scores), "score": fmean(scores) if scores else None}
    for name in ("question", "answer"):
        found[f"{name}_not_looked_for"] = sum(row[name] is None for row in rows)
    return found


def matches_of(items: Sequence[Item], fields: Sequence[Field], seen: Seen) -> Iterable[dict[str, Any]]:
    """The lines of ``matches.jsonl``.

    Args:
        items: The items.
        fields: Their questions and answers.
        seen: What was found of them.
    """
    for match in sorted(seen.matches, key=lambda match: (fields[match.field].item, match.field, match.steps[0])):
        field = fields[match.field]
        item, (document, start, stop) = items[field.item], match.span
        where = {"source": match.source, "document": document, "tokens": [start, stop], "text": match.text}
        about = {"set": item.group, "item": item.id, "field": field.name, "words": list(match.words)}
        when = {"steps": list(match.steps[:MOST_STEPS]), "times": len(match.steps)}
        yield about | {"of": field.size} | where | when


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one object a line, beside the target, then move it there.

    Args:
        path: The target.
        records: The objects.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    part.replace(path)
