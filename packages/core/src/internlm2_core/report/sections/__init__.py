"""What core shows in the report: training, evaluation, the record of the run."""

import json
from importlib.resources import files

from internlm2_records.report import Part, Section

from internlm2_core.report.readers import READERS
from internlm2_core.report.sections.all_figures import Published, show_figures
from internlm2_core.report.sections.evaluation import (
    show_contamination,
    show_held_out,
    show_instructions,
    show_needle,
)
from internlm2_core.report.sections.record import show_record
from internlm2_core.report.sections.training import show_training


def published() -> list[Published]:
    """Figures of the released models, from ``published.json``."""
    read = json.loads((files("internlm2_core") / "report/published.json").read_text(encoding="utf-8"))
    return [
        Published(task, model, value, read["setting"], read["source"])
        for task, values in read["tasks"].items()
        for model, value in zip(read["models"], values, strict=True)
    ]


PUBLISHED = published()
EVALUATION = ("evaluation",)
PART = Part(
    READERS,
    [
        Section("training", "Training", 30, ("curves",), show_training),
        Section("held_out", "Held-out loss", 40, EVALUATION, show_held_out),
        Section("needle", "Needle in a haystack", 50, EVALUATION, show_needle),
        Section("instructions", "Instructions", 60, EVALUATION, show_instructions),
        Section("figures", "All figures by task", 65, EVALUATION, lambda found: show_figures(found, PUBLISHED)),
        Section("contamination", "Contamination", 95, EVALUATION, show_contamination),
        Section("record", "Record of the run", 100, ("record",), show_record),
    ],
    {kind: {"$ref": f"#/$defs/{kind}"} for kind in READERS},
)
