"""The job ``internlm2 label``: comparisons, judged by an annotator, become preference pairs.

Writes ``OUTPUT/judgements.jsonl`` as answers come (see `internlm2_align.labelling.labels`), then ``OUTPUT/train.jsonl``
and ``OUTPUT/heldout.jsonl`` (see `internlm2_align.preferences.preference`), and, last, ``OUTPUT/metrics.json``:

    schema      "internlm2/align/label/1"
    annotator   name of its class, as "SimulatedAnnotator", for which no person has judged
    annotators  {NAME: judgements that count}: who judged
    gold        {NAME: {"judged", "right"}}: gold questions, which are not in the sets. The page of people has its own
    sets        {"train", "heldout"}: {"comparisons" = "pairs" + "ties" + "both_bad" + "skipped" + the sum of "failed" +
                "open", "domains": {DOMAIN: the same}, "counts": what was read and left out}

Comparisons that were drawn from the replies of a model are kept in ``OUTPUT/comparisons.SIDE.jsonl``. A run that was
stopped asks what is open. What was judged is not judged again.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from internlm2_core.evaluation.written import write_json, write_jsonl

from internlm2_align.labelling.annotator import Annotator
from internlm2_align.labelling.labels import Labels
from internlm2_align.labelling.labels import label as label_comparisons
from internlm2_align.labelling.sources import SIDES, Asked, Source
from internlm2_align.preferences.comparison import Comparison, comparison_record, preference_records, read_comparisons

SCHEMA = "internlm2/align/label/1"
log = logging.getLogger(__name__)


def label(annotator: Annotator, source: Source, output: str) -> dict[str, Any]:
    """Label.

    Args:
        annotator: Judges.
        source: Gives the comparisons.
        output: Folder of the result.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If nothing is left to judge, a record does not fit, or the annotator cannot judge these.
    """
    folder = Path(output)
    asked = drawn(source, annotator, folder) if source.drawn else source.comparisons(annotator)
    labels = label_comparisons(annotator, [each for side in SIDES for each in asked.sides[side]], folder)
    sets = {}
    for side in SIDES:
        comparisons = {each.id: each for each in asked.sides[side] if "gold" not in each.meta}
        judgements = {id_: labels.judgements[id_] for id_ in comparisons if id_ in labels.judgements}
        write_jsonl(folder / f"{side}.jsonl", preference_records(comparisons, judgements))
        sets[side] = figures(labels, comparisons.values()) | {"counts": dict(sorted((+asked.counts[side]).items()))}
    metrics = {
        "schema": SCHEMA,
        "annotator": type(annotator).__name__,
        "annotators": labels.by_annotator(),
        "gold": labels.gold(),
        "sets": sets,
    }
    write_json(folder / "metrics.json", metrics)
    if left := labels.wanted().keys() - labels.judgements.keys():
        wanted = len(labels.wanted())
        log.warning("%d of %d comparisons have no judgement yet. The same command asks for them.", len(left), wanted)
    return metrics


def figures(labels: Labels, comparisons: Iterable[Comparison]) -> dict[str, Any]:
    """What became of some comparisons, of all of them and of each domain.

    Args:
        labels: Of all comparisons.
        comparisons: Those that are counted.
    """
    by_domain: dict[str, list[str]] = {}
    for comparison in comparisons:
        by_domain.setdefault(comparison.domain, []).append(comparison.id)
    domains = {domain: labels.counts(ids) for domain, ids in sorted(by_domain.items())}
    return labels.counts([id_ for ids in by_domain.values() for id_ in ids]) | {"domains": domains}


def drawn(source: Source, annotator: Annotator, folder: Path) -> Asked:
    """Comparisons that are drawn once and kept.

    Args:
        source: Draws them.
        annotator: Who is to judge them.
        folder: Where they are kept.
    """
    files = {side: folder / f"comparisons.{side}.jsonl" for side in SIDES}
    record = folder / "comparisons.json"
    if not record.is_file():
        asked = source.comparisons(annotator)
        for side, file in files.items():
            write_jsonl(file, map(comparison_record, asked.sides[side]))
        write_json(record, {"counts": {side: dict(+asked.counts[side]) for side in SIDES}})
    counts = json.loads(record.read_text(encoding="utf-8"))["counts"]
    return Asked(
        {side: read_comparisons(file) for side, file in files.items()},
        {side: Counter(counts[side]) for side in SIDES},
    )
