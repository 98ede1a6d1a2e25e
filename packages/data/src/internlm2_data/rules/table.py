"""Rules whose thresholds are in a table."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from internlm2_data.document import CODE_TYPES
from internlm2_data.page import Page
from internlm2_data.rules.code_measures import CODE_MEASURES
from internlm2_data.rules.long_measures import LONG_MEASURES
from internlm2_data.rules.measures import TEXT_MEASURES, Measure
from internlm2_data.verdict import KEEP, Drop, Verdict

SHIPPED = ("text", "code", "long")
MEASURES: dict[str, Measure] = {**TEXT_MEASURES, **CODE_MEASURES, **LONG_MEASURES}


@dataclass(frozen=True, slots=True)
class Threshold:
    """One row of the table for one language.

    Attributes:
        rule: Name in `MEASURES`.
        bound: Whether the limit is the least or the greatest value allowed.
        limit: The threshold.
        types: Document types that it applies to. Empty for all.
    """

    rule: str
    bound: Literal["min", "max"]
    limit: float
    types: frozenset[str]


def read_table(table: str | Path) -> dict[str, list[Threshold]]:
    """Thresholds by language, in the order of the file.

    Args:
        table: "text", "code" or "long" for a shipped one (in `rules/tables`), or a CSV file with their columns.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If a rule or bound is unknown, or a threshold is not a number.
    """
    if str(table) in SHIPPED:
        text = files(__package__).joinpath(f"tables/{table}.csv").read_text("utf-8")
    elif Path(table).is_file():
        text = Path(table).read_text("utf-8")
    else:
        raise FileNotFoundError(f"{table} is not a table of thresholds. Shipped ones are {', '.join(SHIPPED)}.")
    rows = list(csv.DictReader(text.splitlines()))
    languages = [c for c in rows[0] if c not in ("rule", "bound", "types", "source")] if rows else []
    return {
        language: [_threshold(row, language, number) for number, row in enumerate(rows, 2) if row[language]]
        for language in languages
    }


def _threshold(row: dict[str, str], language: str, number: int) -> Threshold:
    if row["rule"] not in MEASURES or row["bound"] not in ("min", "max"):
        raise ValueError(
            f"Line {number} of the table has rule {row['rule']!r} and bound {row['bound']!r}. Rules are "
            f"{', '.join(MEASURES)}. Bounds are min and max."
        )
    try:
        limit = float(row[language])
    except ValueError:
        raise ValueError(
            f"Line {number} of the table has {row[language]!r} for {language}, which is not a number."
        ) from None
    return Threshold(row["rule"], "min" if row["bound"] == "min" else "max", limit, frozenset(row["types"].split()))


class TableRules:
    """Drops a document at the first threshold that it breaks. A language without a column is dropped as such.

    Args:
        thresholds: Name of a shipped table or a CSV file. See `read_table`.
    """

    def __init__(self, thresholds: str = "text") -> None:
        self._table = read_table(thresholds)
        self.thresholds = thresholds if thresholds in SHIPPED else Path(thresholds)
        self._plans: dict[tuple[str, str], list[tuple[Measure, Threshold]]] = {}

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        return [self._judge(page) for page in pages]

    def _judge(self, page: Page) -> Verdict:
        document = page.document
        column = "code" if document.type in CODE_TYPES else document.language
        if column not in self._table:
            return Drop("language.not_wanted", document.language, "+".join(self._table))
        for measure, threshold in self._plan(column, document.type):
            value = measure(page)
            if value < threshold.limit if threshold.bound == "min" else value > threshold.limit:
                return Drop(threshold.rule, round(value, 4), threshold.limit)
        return KEEP

    def _plan(self, language: str, kind: str) -> list[tuple[Measure, Threshold]]:
        if (language, kind) not in self._plans:
            rows = [row for row in self._table[language] if not row.types or kind in row.types]
            self._plans[language, kind] = [(MEASURES[row.rule], row) for row in rows]
        return self._plans[language, kind]
