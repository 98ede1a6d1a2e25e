import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from internlm2_core.report import Source, parts, report, schema

from .conftest import PARTS, PHASES, make_run, sources_of, targets

VOID = {"meta", "line", "circle", "polyline", "br", "link", "img"}


class Checker(HTMLParser):
    """Every element is closed in order, and nothing names a resource outside the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.ids: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.add(value or "")
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#"):
                self.outside.append(f"{tag} {name}={value}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def parsed(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert not checker.open
    return checker


@pytest.fixture
def written(run: Path, tmp_path: Path) -> tuple[dict, str]:
    figures = report([str(run)], sources_of(), PARTS, str(tmp_path / "out"), "Fixture <run>", targets())
    assert json.loads((tmp_path / "out/report.json").read_text()) == json.loads(json.dumps(figures))
    return figures, (tmp_path / "out/report.html").read_text()


def test_json_is_as_its_schema_says(written: tuple[dict, str]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(PARTS))
    jsonschema.validate(json.loads(json.dumps(written[0])), schema(PARTS))


def test_the_fixture_is_as_the_schema_of_evaluation_says(run: Path) -> None:
    schema = json.loads((files("internlm2_core") / "evaluation/schema.json").read_text())
    for name in PHASES:
        jsonschema.validate(json.loads((run / f"evaluate_{name}/metrics.json").read_text()), schema)


def test_page_is_whole_and_self_contained(written: tuple[dict, str]) -> None:
    page = parsed(written[1])
    assert not page.outside
    assert not re.findall(r"url\(|@import|<script|https?://(?!www\.w3\.org)", written[1])
    assert {"summary", "data", "needle", "instructions", "reward", "ppo", "online_rlhf", "record"} <= page.ids


def test_page_shows_the_figures(written: tuple[dict, str]) -> None:
    text = " ".join(" ".join(parsed(written[1]).text).split())
    for expected in (
        "Fixture <run>", "SFT 中文名", "c4.sentences 312", "not configured: toxicity, pornography", "1.138", "3.300",
        "no person judged anything", "Simulated annotator's own score", "conflicting", "±", "6 min 42 s", "✗ missed",
        "Not logged: train/tflops", "谢谢！",
        "train 1.14", "harness", "acc 0.253 0.253", "65.8", "OpenCompass", "41 %", "52 %", "4.31", "92,544",
    ):  # fmt: skip
        assert expected in text, expected


def test_what_is_missing_is_said(written: tuple[dict, str]) -> None:
    figures, page = written
    code = next(source for source in figures["sources"] if source["title"] == "Code")
    assert code["status"] == "missing"
    assert code["figures"] is None
    assert code["reason"] in page
    [target] = [target for target in figures["targets"] if target["source"] == "Code"]
    assert (target["value"], target["outcome"]) == (None, "unknown")


def test_simulated_figures_are_marked(written: tuple[dict, str]) -> None:
    figures, page = written
    assert [t["title"] for t in figures["targets"] if t["simulated"]] == [
        "Reward accuracy, worst domain", "PPO raises the reward", "Every round raises the reward",
    ]  # fmt: skip
    for heading in ("Preferences", "Conditional reward model", "PPO run", "Two rounds"):
        assert re.search(rf'<h3>{heading} <span class="sim">simulated annotator</span>', page)


def test_a_run_of_which_nothing_is_there(tmp_path: Path) -> None:
    figures = report([str(tmp_path / "nothing")], sources_of(), PARTS, str(tmp_path / "out"), "Empty", targets())
    assert {source["status"] for source in figures["sources"]} == {"missing"}
    assert {target["outcome"] for target in figures["targets"]} == {"unknown"}
    parsed((tmp_path / "out/report.html").read_text())


def test_a_damaged_file_is_said(run: Path, tmp_path: Path) -> None:
    (run / "ppo/metrics.json").write_text("{")
    (run / "reward/metrics.json").write_text('{"schema": "other/9", "heldout": {}, "conditional": true}')
    figures = report([str(run)], sources_of(), PARTS, str(tmp_path / "out"), "Damaged")
    states = {source["title"]: (source["status"], source["reason"]) for source in figures["sources"]}
    assert states["PPO run"][0] == "unreadable"
    assert "schema='other/9' must be 'internlm2/align/reward/1'" in states["Conditional reward model"][1]


def test_rounds_say_who_labelled_what_it_changed_and_who_won(written: tuple[dict, str]) -> None:
    rounds = written[1].partition('<section id="online_rlhf">')[2].partition("</section>")[0]
    text = " ".join(" ".join(parsed(rounds).text).split())
    for expected in (
        "李明 398 28.5 %", "late policy 61.7 % of 83", "round 2, fast path 40 40.4 % 97.1 % 58 %", "hack",
        "round 2, held out 31 40.4 % 81.3 %", "no answer 1", "Share of late replies that show a pattern",
        "问题 8?", "第8个回答", "第0个回答",
    ):  # fmt: skip
        assert expected in text, expected
    assert "maths, ending: 谢谢！ from 0.6 to 0.037" in rounds  # what a reader who cannot see gets of the chart


def test_runs_are_laid_beside_each_other(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other")
    metrics = json.loads((other / "evaluate_ppo/metrics.json").read_text())
    metrics["tasks"]["instructions"]["accuracy"] = 0.75
    (other / "evaluate_ppo/metrics.json").write_text(json.dumps(metrics))
    (other / "reward/metrics.json").unlink()
    runs = [str(run), str(other)]
    figures = report(runs, sources_of(), PARTS, str(tmp_path / "out"), "Two", targets())
    jsonschema.validate(json.loads(json.dumps(figures)), schema(PARTS))
    assert figures["runs"] == [{"name": "run", "folder": runs[0]}, {"name": "other", "folder": runs[1]}]
    assert {target["run"] for target in figures["targets"]} == {"run", "other"}
    page = (tmp_path / "out/report.html").read_text()
    text = " ".join(" ".join(parsed(page).text).split())
    assert "PPO 88 % en 88 · zh 84 75 % en 88 · zh 84 −13.0 pp" in text
    assert "All runs say the same." in text  # the funnel, for one
    assert "Not there: Code (run), Code (other) . The summary says why." in text.replace("(other).", "(other) .")
    assert "Conditional reward model (other): missing." in text


def test_three_runs_stay_small_and_load_nothing(run: Path, tmp_path: Path) -> None:
    runs = [str(run), str(make_run(tmp_path / "b")), str(make_run(tmp_path / "c"))]
    report(runs, sources_of(), PARTS, str(tmp_path / "out"), "Three", targets())
    page = (tmp_path / "out/report.html").read_text()
    assert not parsed(page).outside
    assert not re.findall(r"url\(|@import|<script|https?://", page)
    assert len(page.encode()) < 1_000_000


def test_a_package_that_is_not_installed(run: Path, tmp_path: Path) -> None:
    found = parts(["internlm2_core.report.sections", "nowhere_to_be_found.report"])
    figures = report([str(run)], sources_of(), found, str(tmp_path / "out"), "Core alone")
    reasons = {source["title"]: source["reason"] for source in figures["sources"]}
    assert "no installed package reads ppo" in reasons["PPO run"]
    assert not reasons["After 4k"]


def test_mistakes(run: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(ValueError, match=r"sources=\[\] of the report must hold one"):
        report([str(run)], [], PARTS, out, "x")
    with pytest.raises(ValueError, match=r"runs=\[\] of the report must hold one"):
        report([], sources_of(), PARTS, out, "x")
    with pytest.raises(ValueError, match=r"runs=.*run comes twice"):
        report([str(run), str(run)], sources_of(), PARTS, out, "x")
    with pytest.raises(ValueError, match=r"kind='poem' of the source 'x' must be one of curves"):
        report([str(run)], [Source("x", "poem", "x")], PARTS, out, "x")
    twice = [Source("x", "record", "a"), Source("x", "record", "b")]
    with pytest.raises(ValueError, match="title='x' is that of several sources"):
        report([str(run)], twice, PARTS, out, "x")
    with pytest.raises(ValueError, match=r"source='.*' of the target '.*' must be one of x"):
        report([str(run)], twice[:1], PARTS, out, "x", targets())
    with pytest.raises(ValueError, match=r"modules=json must have a PART"):
        parts(["json"])
    assert not (tmp_path / "out").exists()
