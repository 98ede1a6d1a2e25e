"""The job ``internlm2 label``: preference pairs from instruction records, judged by an annotator.

Writes ``OUTPUT/train.jsonl`` and ``OUTPUT/heldout.jsonl`` (see `internlm2_align.preferences.preference`), and, last,
``OUTPUT/metrics.json``:

    schema      "internlm2/align/label/1"
    annotator   name of its class, as "SimulatedAnnotator", for which no person has judged
    sets        {"train", "heldout"}: {"records", "pairs", "counts": {DOMAIN: pairs, "DOMAIN/no_gap": records without a
                pair, "origin/BETTER>WORSE": pairs}, "question_is_held_out": records left out of train}
"""

from collections import Counter
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any

from internlm2_core.evaluation.records import evenly
from internlm2_core.evaluation.written import write_json, write_jsonl
from internlm2_core.generation import Sampling
from internlm2_records import read_objects

from internlm2_align.labelling.annotator import NEEDS, Annotator, Record, question_of
from internlm2_align.labelling.candidates import Writer, at_hand
from internlm2_align.labelling.pairs import PairRules
from internlm2_align.labelling.pairs import label as label_records
from internlm2_align.labelling.samples import ReplySampler
from internlm2_align.preferences.preference import to_record

SCHEMA = "internlm2/align/label/1"


def label(
    annotator: Annotator,
    rules: PairRules,
    instructions: str,
    heldout: str,
    output: str,
    responses: Sequence[str] = (),
    checkpoint: str | None = None,
    sampling: Sampling | None = None,
    samples: int = 2,
    limit: int | None = None,
    heldout_limit: int | None = None,
    seed: int = 1,
    candidates: Callable[[Sequence[Record], int], Writer] | None = None,
) -> dict[str, Any]:
    """Label.

    Args:
        annotator: Judges.
        rules: How many pairs, and how clear.
        instructions: Records for training.
        heldout: Records for held-out pairs. Their questions are left out of training.
        output: Folder of the result.
        responses: Files of replies to be judged too: JSON lines ``{"id", "replies": [...]}``.
        checkpoint: A model whose replies are sampled and judged too.
        sampling: How to sample.
        samples: Replies sampled for each record.
        limit: Records taken for training, evenly spread. None takes all.
        heldout_limit: The same for held-out records.
        seed: Of the sampling.
        candidates: Makes what gives the candidates of a record, of all records and a seed. None takes the
            reference reply and the replies of models.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is empty, a record lacks a key, or responses belong to no record.
    """
    all_held, all_found = read_objects(heldout, NEEDS), read_objects(instructions, NEEDS)
    held, found = evenly(all_held, heldout_limit), evenly(all_found, limit)
    questions = {question_of(record) for record in all_held}
    training = [record for record in found if question_of(record) not in questions]
    given = _given(responses, {record["id"] for record in [*all_held, *all_found]})
    if checkpoint is not None:
        sampler = ReplySampler(checkpoint, sampling or Sampling(max_new_tokens=64), name="SFT model")
        for records in (training, held):
            for name, replies in sampler.replies(records, samples, seed).items():
                given[name] = [*given.get(name, []), *replies]
    sets = {}
    for name, records in (("train", training), ("heldout", held)):
        counts: Counter[str] = Counter()
        pairs = label_records(records, annotator, rules, given, candidates or at_hand, counts)
        write_jsonl(Path(output) / f"{name}.jsonl", map(to_record, pairs))
        sets[name] = {"records": len(records), "pairs": len(pairs), "counts": dict(sorted(counts.items()))}
    sets["train"]["question_is_held_out"] = len(found) - len(training)
    metrics = {"schema": SCHEMA, "annotator": type(annotator).__name__, "sets": sets}
    write_json(Path(output) / "metrics.json", metrics)
    return metrics


def _given(responses: Sequence[str], known: Set[Any]) -> dict[str, Sequence[str]]:
    given: dict[str, Sequence[str]] = {}
    for path in responses:
        records = read_objects(path, ("id", "replies"))
        if not any(record["id"] in known for record in records):
            raise ValueError(
                f"responses={path} belong to other records: none of its ids is among the instructions. Its first is "
                f"{records[0]['id']!r}."
            )
        for number, record in enumerate(records, 1):
            replies = record["replies"]
            if not isinstance(replies, list) or not all(isinstance(reply, str) for reply in replies):
                raise ValueError(f"Record {number} of {path} has replies={replies!r}, which must be a list of texts.")
            given[record["id"]] = [*given.get(record["id"], []), *replies]
    return given
