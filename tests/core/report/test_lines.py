import re
from xml.etree import ElementTree

import pytest
from internlm2_core.report.lines import Line, line_chart, short, ticks
from internlm2_core.report.readers import thinned


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 4, [0, 1, 2, 3, 4]),
        (2.9, 7.4, [2, 4, 6, 8]),
        (0, 0.003, [0, 0.001, 0.002, 0.003]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (3, 3, [3, 4]),
    ],
)
def test_ticks_by_hand(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_span_the_range() -> None:
    for low, high in ((0.17, 0.19), (-3e5, 2e6), (1e-9, 3e-9), (0, 0)):
        found = ticks(low, high)
        assert found[0] <= low <= high <= found[-1]
        assert 2 <= len(found) <= 8


def test_chart_is_xml_and_stays_inside() -> None:
    svg = line_chart([Line("a < b", [0, 5, 10], [1.0, 3.0, 2.0]), Line("一", [10], [2.5], 1)], "steps", "loss & more")
    root = ElementTree.fromstring(svg)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    points = [float(n) for line in root.iter("polyline") for n in re.findall(r"-?[\d.]+", line.attrib["points"])]
    assert all(0 <= x <= width for x in points[::2])
    assert all(0 <= y <= height for y in points[1::2])
    # The highest value is drawn highest: the smallest y.
    assert min(points[1:6:2]) == points[3]
    assert "a < b from 1 to 2" in root.attrib["aria-label"]


def test_short() -> None:
    assert [short(value) for value in (0, 0.0001, 2.5, 9999, 20_000)] == ["0", "0.0001", "2.5", "9999", "20k"]


def test_thinning_averages_neighbours() -> None:
    assert thinned([(1, 1.0), (2, 3.0), (3, 5.0)], limit=2) == {
        "steps": [2, 3],
        "values": [2.0, 5.0],
        "rows_per_point": 2,
    }


def test_between_whole_steps_there_is_no_tick() -> None:
    assert ">1.5<" not in line_chart([Line("a", [1, 2], [0.0, 0.3])], "round", "share")
    assert ">1.5<" in line_chart([Line("a", [1, 1.75, 2], [0.0, 0.1, 0.3])], "days", "share")
