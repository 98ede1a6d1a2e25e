"""Blocks of several runs beside each other, by hand."""

import pytest
from internlm2_core.report.compare import Compared, beside
from internlm2_core.report.runs import names_of
from internlm2_core.report.values import difference, judged, written
from internlm2_records.report import Cell, Chart, Column, Example, Heading, Heat, Line, Row, Table, Text

COLUMNS = [
    Column("accuracy", "bar", better="higher"),
    Column("loss", better="lower"),
    Column("why", "text", compared=False),
]


def table(accuracy: float | None, loss: float, label: str = "maths") -> Table:
    return Table(
        "t", "domain", COLUMNS, [Row(label, [accuracy, Cell(loss, "nats"), "x"]), Row("easy", [1.0, 2.0, ""], 1)]
    )


def test_one_run_is_left_as_it_is() -> None:
    blocks = [Heading("h"), Text("t"), table(0.5, 1.0)]
    assert beside({"a": blocks}) == blocks


def test_tables_get_a_column_for_each_run_and_differences_from_the_first() -> None:
    [made] = beside({"a": [table(0.5, 1.0)], "b": [table(0.75, 1.5)], "c": [table(None, 0.5)]})
    assert isinstance(made, Compared)
    assert [group.path for group in made.groups] == [["maths"], ["maths", "easy"]]
    accuracy, loss = made.groups[0].figures
    assert [cell.value for cell in accuracy[1]] == [0.5, 0.75, None]
    assert (accuracy[2], loss[2]) == ([0.25, None], [0.5, -0.5])
    assert [column.name for column, _, _ in made.groups[0].figures] == ["accuracy", "loss"]


def test_rows_of_one_run_alone_are_kept() -> None:
    [made] = beside({"a": [table(0.5, 1.0)], "b": [table(0.5, 1.0, "code")]})
    assert isinstance(made, Compared)
    assert [group.path for group in made.groups] == [["maths"], ["maths", "easy"], ["code"], ["code", "easy"]]
    assert [cell.value for cell in made.groups[2].figures[0][1]] == [None, 0.5]


def test_what_all_runs_say_is_said_once() -> None:
    same, other = [table(0.5, 1.0), Text("both")], Text("only one")
    made = beside({"a": same, "b": [*same, other]})
    assert [type(block).__name__ for block in made] == ["Table", "Text", "Text"]
    assert made[0].note == "All runs say the same."  # type: ignore[union-attr]
    assert made[2] == Text("b: only one")


def test_lines_are_drawn_over_each_other_in_the_colour_of_their_run() -> None:
    chart = Chart("loss", [Line("train", [1], [2.0]), Line("held", [1], [3.0])], "steps")
    [made] = beside({"a": [chart], "b": [Chart("loss", [Line("train", [1], [9.0])], "steps")]})
    assert [(line.label, line.color, line.dashed) for line in made.lines] == [  # type: ignore[union-attr]
        ("a · train", 0, False), ("a · held", 0, True), ("b", 1, False),
    ]  # fmt: skip


def test_blocks_of_equal_title_under_other_headings_are_kept_apart() -> None:
    one = [Heading("first"), table(0.1, 1.0), Heading("second"), table(0.2, 1.0)]
    two = [Heading("second"), table(0.9, 1.0)]
    made = beside({"a": one, "b": two})
    assert [type(block).__name__ for block in made] == ["Heading", "Compared", "Heading", "Compared"]
    assert [cell.value for cell in made[3].groups[0].figures[0][1]] == [0.2, 0.9]  # type: ignore[union-attr]


def test_maps_and_examples_carry_the_name_of_their_run() -> None:
    heats = [Heat("en", "tokens", ["128"], ["0"], [[share]]) for share in (0.1, 0.9)]
    examples = [Example("best 1", "p", reply) for reply in ("x", "y")]
    made = beside({"a": [heats[0], examples[0]], "b": [heats[1], examples[1]]})
    assert [block.title for block in made] == ["en · a", "en · b", "best 1 · a", "best 1 · b"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["x/run", "y/run"], ["x/run", "y/run"]),
        (["/runs/a/"], ["a"]),
    ],
)
def test_names_tell_runs_apart(folders: list[str], names: list[str]) -> None:
    assert names_of(folders) == names


def test_values_as_they_are_written() -> None:
    share, loss, count = Column("s", "share", better="higher"), Column("l", better="lower"), Column("c", "count")
    assert [written(value, share) for value in (0.5, 0.1234, None, "x")] == ["50\u202f%", "12.3\u202f%", "–", "x"]
    assert [written(value, loss) for value in (-0.25, -0.0001, 3)] == ["−0.250", "0.000", "3"]
    assert written(1234567, count) == "1,234,567"
    assert [difference(value, share) for value in (-0.05, 0.0001, None)] == ["−5.0\u202fpp", "±0", ""]
    assert [difference(value, loss) for value in (0.25, -0.25)] == ["+0.250", "−0.250"]
    assert [judged(value, loss) for value in (0.25, -0.25, 0.0001)] == ["bad", "good", ""]
    assert judged(5, count) == ""
