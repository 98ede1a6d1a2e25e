"""Cards of data sets: a README.md with a YAML head, as `datasets` and the hub of Hugging Face read it.

A card holds what the pipeline has counted. What it cannot know is named in the card's last section. The head of
documents says where the last stage is, so ``datasets.load_dataset(OUTPUT)`` reads it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_records.cards import size_category, table, write_card

from internlm2_data.document import FIELDS

DTYPES = {"meta": "json", "trail": "json"}
"""Fields whose values have other keys in other documents. JSON lines do not say so, Parquet does."""
NOT_SAID = """## Not said here

Not known to the pipeline that wrote this card:

- The licence of the texts, and whose they are.
- Whether the texts name people. Rules for that are named above where they were configured.
- What the texts should not be used for."""


def write_document_card(folder: Path, stages: Sequence[Mapping[str, Any]]) -> Path | None:
    """Write the card of documents, with the funnel of the pipeline that they went through.

    Args:
        folder: Output of the pipeline.
        stages: Reports of its stages, as ``funnel.json`` holds them.

    Returns:
        The card, or None if somebody's own is there.
    """
    if not stages:
        return None
    last = stages[-1]
    documents = sum(last["documents"].values())
    cells = sorted(last["bytes"], key=lambda cell: -last["bytes"][cell])
    names = [f"{stage['stage']}: {', '.join(stage['not_configured'])}." for stage in stages if stage["not_configured"]]
    parts = [
        "# Documents",
        f"{documents:,} documents, {sum(last['bytes'].values()):,} bytes of text. `{last['stage']}/` holds what the "
        "last stage kept. Each document has a text, an id, a language, a source and a trail.",
        "## Stages",
        table(
            ["stage", "documents", "bytes", "dropped", "rewritten", "not readable"],
            [
                [
                    stage["stage"],
                    sum(stage["documents"].values()),
                    sum(stage["bytes"].values()),
                    _sum(stage["dropped"]),
                    _sum(stage["rewritten"]),
                    stage["num_faults"],
                ]
                for stage in stages
            ],
        ),
        "## What is in it",
        table(
            ["language and source", "documents", "bytes"],
            [[cell, last["documents"][cell], last["bytes"][cell]] for cell in cells],
        ),
    ]
    reasons = [
        [stage["stage"], rule, sum(counts.values())] for stage in stages for rule, counts in stage["dropped"].items()
    ]
    if reasons:
        parts += ["## Why documents were dropped", table(["stage", "rule", "documents"], reasons)]
    if names:
        parts += ["## Checks that were not configured", "\n".join(f"- {name}" for name in names)]
    head = _head(cells, documents)
    if suffix := _suffix(folder / last["stage"]):
        files = [{"split": "train", "path": f"{last['stage']}/*{suffix}"}]
        head["configs"] = [{"config_name": "default", "data_files": files}]
        if suffix != ".parquet":
            head["dataset_info"] = {
                "features": [{"name": name, "dtype": DTYPES.get(name, "string")} for name in FIELDS]
            }
    return _write(folder, head, parts)


def write_token_card(folder: Path, files: Sequence[Mapping[str, Any]]) -> Path | None:
    """Write the card of token files.

    Args:
        folder: Output of the pipeline.
        files: Cards of the files, as ``tokens.json`` holds them.

    Returns:
        The card, or None if somebody's own is there.
    """
    if not files:
        return None
    rows = [[card["name"], card["documents"], card["tokens"], card["bytes"]] for card in files]
    tokens = sum(card["tokens"] for card in files)
    cells = list(dict.fromkeys(card["name"].rpartition("/")[2] for card in files))
    parts = [
        "# Token files",
        f"Token files of {tokens:,} tokens by a vocabulary of {files[0]['vocabulary']:,}, whose tokenizer.json has the "
        f"SHA-256 {files[0]['tokenizer_sha256']}. Documents of `heldout/` are in none of the others. Those of `long/` "
        "may be in `train/` too.",
        "## Files",
        table(["file", "documents", "tokens", "bytes of text"], rows),
    ]
    documents = sum(card["documents"] for card in files if not card["name"].startswith("long/"))
    return _write(folder, _head(cells, documents) | {"viewer": False}, parts)


def _write(folder: Path, head: Mapping[str, Any], parts: Sequence[str]) -> Path | None:
    from huggingface_hub import DatasetCardData

    return write_card(folder, DatasetCardData(**head).to_yaml(), "\n\n".join([*parts, NOT_SAID]))


def _head(cells: Sequence[str], documents: int) -> dict[str, Any]:
    """What a hub sorts data sets by. Languages are those with two letters: code has no natural language."""
    languages = dict.fromkeys(cell.partition("-")[0] for cell in cells)
    spoken = [name for name in languages if len(name) == 2 and name.isalpha()]
    return {
        **({"language": spoken} if spoken else {}),
        "size_categories": size_category(documents),
        "task_categories": ["text-generation"],
        "tags": ["internlm2"],
    }


def _sum(counts: Mapping[str, Mapping[str, int]]) -> int:
    return sum(count for cells in counts.values() for count in cells.values())


def _suffix(stage: Path) -> str:
    """What names of a stage's shards end with."""
    shards = [file.name for file in sorted(stage.glob("[0-9]*.*"))]
    return shards[0][shards[0].index(".") :] if shards else ""
