"""The report of a run: one page to read, one JSON file of the same figures.

    sources (files of a run) ── load ──┬─► report.json   laid out as schema.json says
    targets ───────────────── check ───┴─► report.html   self-contained: styles and charts inside, nothing loaded

`readers` says how each kind of file is read, `tables` and `charts` what is shown of it, and ``templates/`` how. A
source that is missing or cannot be read is shown with the reason. Figures that rest on the simulated annotator are
marked.
"""

from internlm2_core.report.job import report
from internlm2_core.report.source import Source
from internlm2_core.report.target import Target

__all__ = ["Source", "Target", "report"]
