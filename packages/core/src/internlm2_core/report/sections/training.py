"""Curves and speed of every training."""

from collections.abc import Iterator, Sequence

from internlm2_records.report import Block, Chart, Column, Found, Line, Row, Table, Text

SPEED = (
    (Column("optimizer steps", "count"), "steps"),
    (Column("tokens", "count"), "tokens"),
    (Column("last loss", digits=3, better="lower"), "loss"),
    (Column("tokens/s a rank", "count", better="higher"), "tokens_per_s"),
    (Column("TFLOP/s a rank", digits=3, better="higher"), "tflops"),
    (Column("MFU", "share", better="higher"), "mfu"),
    (Column("MFU as InternEvo counts", "share"), "mfu_internevo"),
    (Column("padding", "share", better="lower"), "padding"),
    (Column("steps left out", "count", better="lower"), "steps_left_out"),
)
MEANING = (
    "MFU counts 6 operations a weight and causal attention as half, without recomputation. InternEvo counts attention "
    "whole and recomputation too, so its figure is higher for the same run. Speeds are means over the logged steps."
)
LACKING = "MFU is not known where the peak of the hardware was not given to the run."


def show_training(found: Sequence[Found]) -> Iterator[Block]:
    """Speed of all trainings side by side, then the curves of each."""
    rows = [Row(each.title, [each.figures["speed"][name] for _, name in SPEED]) for each in found]
    lacking = any(each.figures["speed"]["mfu"] is None for each in found)
    note = f"{MEANING} {LACKING}" if lacking else MEANING
    yield Table("Throughput", "training", [column for column, _ in SPEED], rows, note)
    for each in found:
        yield each.heading
        for label, series in each.figures["series"].items():
            lines = [Line(label, series["steps"], series["values"])]
            yield Chart(label, lines, "optimizer steps", averaged(series["rows_per_point"]))
        if validation := each.figures["validation"]:
            held = [
                Line(name, series["steps"], series["values"], dots=len(series["steps"]) < 40)
                for name, series in validation.items()
            ]
            yield Chart("Held-out loss, nats a token", held, "optimizer steps")
        if missing := each.figures["missing_columns"]:
            yield Text(f"Not logged: {', '.join(missing)}.", soft=True)


def averaged(rows: int) -> str:
    """What a point of a curve is."""
    return f"Each point is the mean of {rows} logged values." if rows > 1 else ""
