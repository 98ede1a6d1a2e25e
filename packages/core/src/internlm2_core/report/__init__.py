"""The report of a run, or of several runs: one page to read, one JSON file of the same figures.

    sources (files of a run) ── readers of the parts ──┬─► report.json   laid out as `schema` says
    targets ───────────────────────────────── check ───┼─► report.html   self-contained: styles and charts inside
    parts ─────────── sections as blocks ── compare ───┘

Each package has a part of its own (`internlm2_records.report.Part`): core shows training and evaluation, data its
funnels, align what people and reward models said. This package knows how blocks look, and none of the other parts.

A source that is missing or cannot be read is shown with the reason. Figures that rest on the simulated annotator are
marked.
"""

from internlm2_core.report.job import report, schema
from internlm2_core.report.parts import Parts, parts
from internlm2_core.report.source import Source
from internlm2_core.report.target import Target

__all__ = ["Parts", "Source", "Target", "parts", "report", "schema"]
