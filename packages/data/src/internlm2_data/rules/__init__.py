"""The Clean stage: normalisation, then heuristic rules in the manner of Gopher, C4 and RefinedWeb.

    Normalise ─► CleanLines ─► TableRules("text")
     rewrites     rewrites      drops on the first bound that a measure breaks

Every threshold is in `thresholds.csv`, one row a rule, with a column for English and one for Chinese,
the document types that it applies to and the source of the number. A rule's measure is a function of the
same name in `measures`.
"""

from internlm2_data.rules.lines import CleanLines
from internlm2_data.rules.normalise import Normalise
from internlm2_data.rules.table import TableRules, Threshold, read_table

__all__ = ["CleanLines", "Normalise", "TableRules", "Threshold", "read_table"]
