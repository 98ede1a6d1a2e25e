"""The cost model of `internlm2 plan` against published runs, each with its own layout.

    python tests/benchmarks/parallel/bench_published.py

Two constants of the model have no source of their own: the share of its speed that a GPU keeps in a long run, and the share
of the line that collectives reach over InternEvo's Ethernet. For each run they are fitted to the *other* thirteen. Writes
``docs/results/planner-published.json`` and its section of ``docs/results.md``.
"""

import json
import platform
import re
import subprocess
from datetime import date
from pathlib import Path

import torch
from internlm2_parallel.search.judging import RANGE, Verdict, fit, judge
from internlm2_parallel.search.machine import ROCE_SHARE, SUSTAINED
from internlm2_parallel.search.published import PUBLISHED

ROOT = Path(__file__).resolve().parents[3]
RECORD, PAGE = ROOT / "docs/results/planner-published.json", ROOT / "docs/results.md"
TITLE = "## Planner and published figures"
NOTE = (
    "torchtitan's GPUs are capped at 500 W, for which there is no published speed of products, and half of its products are "
    "computed again, which no plan of ours does. InternEvo's state over all of 256 GPUs and more, and OLMo 3's restarts, "
    "are slower than bandwidth and latency explain. For the 53% of MFU at 1,024 GPUs and the 88% at rows of 256k in the "
    "InternLM2 report see planning.md."
)
COLUMNS = (
    "published",
    "predicted",
    "ratio",
    "ratio without its source",
    "MFU",
    "MFU, InternEvo's count",
    "predicted MFU",
)


def row(verdict: Verdict) -> dict[str, object]:
    """Figures of one run: tokens a second of one GPU, and shares of the peak."""
    run, time = verdict.run, verdict.time
    figures = (
        round(run.tokens_s),
        round(time.tokens_s),
        round(verdict.ratio, 2),
        round(verdict.without_source, 2),
        f"{run.mfu:.1%}",
        f"{run.mfu_internevo:.1%}",
        f"{time.mfu:.1%}",
    )
    return dict(zip(COLUMNS, figures, strict=True))


def named(verdicts: list[Verdict]) -> dict[str, dict[str, object]]:
    """Figures by source and run."""
    return {f"{entry.run.source}: {entry.run.run}": row(entry) for entry in verdicts}


def table(rows: dict[str, dict[str, object]]) -> list[str]:
    """A table in Markdown."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, figures in rows.items():
        values = (f"{value:,}" if isinstance(value, int) else str(value) for value in figures.values())
        lines.append(f"| {name} | {' | '.join(values)} |")
    return [*lines, ""]


def section(record: dict[str, object], figures: dict[str, object]) -> str:
    """The entry of the page."""
    constants = figures["constants"]
    assert isinstance(constants, dict)
    lines = [
        TITLE,
        "",
        f"{record['what']}. Within {RANGE[0]:.2f} and {RANGE[1]:.2f}: {figures['within']}, {figures['others within']}.",
        "",
        *table(figures["judged"]),  # type: ignore[arg-type]
        "Other runs of the same sources, by constants of the fourteen:",
        "",
        *table(figures["others"]),  # type: ignore[arg-type]
        *("| | |", "|---|---|"),
        *(f"| {name} | {value} |" for name, value in constants.items()),
        "",
        str(record["note"]),
        "",
        f"{record['date']}, commit {record['commit']}, {record['machine']}. [planner-published.json](results/planner-published.json)",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    verdicts = judge()
    judged, others = ([entry for entry in verdicts if entry.run.judged == kind] for kind in (True, False))
    fitted = fit(run for run in PUBLISHED if run.judged)
    assert (fitted.sustained, fitted.roce_share) == (SUSTAINED, ROCE_SHARE), f"machine.py does not have {fitted}."
    right, also = (sum(entry.is_right for entry in some) for some in (judged, others))
    figures: dict[str, object] = {
        "judged": named(judged),
        "others": named(others),
        "within": f"{right} of {len(judged)}",
        "others within": f"{also} of {len(others)} others",
        "constants": {"share of its speed that a GPU keeps": SUSTAINED, "share of the line over Ethernet": ROCE_SHARE},
    }
    commit = subprocess.run(
        ["git", "rev-parse", "--short=7", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    record: dict[str, object] = {
        "what": "Tokens a second of one GPU, predicted for the layouts of published runs by constants fitted to other runs",
        "command": "python tests/benchmarks/parallel/bench_published.py",
        "commit": commit.stdout.strip(),
        "date": date.today().isoformat(),
        "versions": {"python": ".".join(platform.python_version_tuple()[:2]), "torch": torch.__version__.split("+")[0]},
        "machine": "none: a prediction",
        "figures": figures,
        "note": NOTE,
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    old = re.search(rf"^{TITLE}\n.*?(?=^## |\Z)", page, flags=re.M | re.S)
    assert old, f"{PAGE.name} has no section {TITLE!r}."
    PAGE.write_text(page.replace(old.group(), section(record, figures) + "\n"), encoding="utf-8")
    print(section(record, figures))


if __name__ == "__main__":
    main()
