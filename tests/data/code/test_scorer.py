"""Rounds of the learned scorer: what it asks, whom it believes, and what it does to files."""

import json
import pickle
from collections import Counter

import numpy as np
import pytest
from internlm2_data.classifiers.linear import fit_linear
from internlm2_data.code import CodeQuality, LearnedQuality, learned_quality
from internlm2_data.code.markdown import assemble
from internlm2_data.code.scorer import SimulatedLabeller, Trust, code_scorer
from internlm2_data.code.scorer.fitting import fit_scorer
from internlm2_data.code.scorer.labels import Labelled, read_labels
from internlm2_data.document import Document
from internlm2_data.page import Page
from internlm2_data.verdict import Drop, Score, apply

pytest.importorskip("sklearn", reason="extra classifiers")
NOUNS = ("buffer", "reader", "window", "planet", "ticket", "matrix", "branch", "signal")
COMMENT = {"python": "#", "go": "//", "ruby": "#"}
OTHERS = ("carpet", "violin", "garden", "pepper", "saddle", "rocket", "kettle", "jacket")
"""Words of ruby, about which nothing can be learned: what is said of it shall not reach the others."""


def small(train, validation, targets, folder):
    """The linear classifier in fewer dimensions."""
    return fit_linear(*train, targets, validation, dims=1 << 17)


def source(language, kind, number):
    """A file that the rules call `kind`."""
    rng = np.random.default_rng([number, len(language), len(kind)])
    mark = COMMENT[language]
    if kind == "low":  # numbers
        return (
            "\n".join(f"{rng.integers(9)}, {rng.integers(9)}, {rng.integers(9)}" for _ in range(20)) + f"\n{number}\n"
        )
    if kind == "moderate":
        return "\n".join(f"a{number} = b * c" for _ in range(12))
    name, other = rng.choice(OTHERS if language == "ruby" else NOUNS, 2)
    return f"{mark} Keeps the {name} of each {other}\n{name} = load({other})\n" * 6 + f"{mark} {number}\n"


def corpus(path, repositories=40, languages=("python", "go", "ruby")):
    """Each repository has a high, a moderate and a low file of each language."""
    with path.open("w") as out:
        for number in range(repositories):
            for language in languages:
                for kind in ("high", "moderate", "low"):
                    meta = {"repository": f"r{number}", "path": f"{kind}.{language}", "folder": f"/r{number}"}
                    text = source(language, kind, number)
                    out.write(
                        json.dumps(
                            Document(
                                text, "code", language, "code", f"r{number}/{kind}.{language}", meta=meta
                            ).to_json()
                        )
                        + "\n"
                    )
    return path


class Fickle(SimulatedLabeller):
    """One who says anything about ruby."""

    def __call__(self, document, again):
        if document.language != "ruby":
            return super().__call__(document, again)
        return ("high", "low")[int(document.id[:6], 16) % 2]


def rows(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def label(path, again=False):
    """Fill a file in, as people do."""
    lines = rows(path)
    for line in lines:
        line["label"] = Fickle()(Document(line["text"], language=line["language"], id=line["id"]), again)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def three_rounds(tmp_path_factory):
    """The folder of the rounds, which people labelled between calls."""
    folder = tmp_path_factory.mktemp("scorer")
    settings = {"inputs": [str(corpus(folder / "d.jsonl"))], "output": folder / "s", "proposals": 90}
    settings |= {"trust": Trust(labels=8), "folds": 3, "fit": small}
    for number in range(4):
        code_scorer(**settings)
        for name in ("to_label.jsonl", "second_look.jsonl"):
            label(folder / "s" / f"round-{number}" / name, again=name.startswith("second"))
    return folder / "s", settings


def test_three_rounds_from_nothing(three_rounds):
    folder, _ = three_rounds
    first = rows(folder / "round-0" / "to_label.jsonl")
    assert Counter((row["proposed"], row["language"]) for row in first) == Counter(
        {(kind, name): 10 for kind in ("high", "moderate", "low") for name in COMMENT}
    )
    asked = [row["id"] for n in range(3) for row in rows(folder / f"round-{n}" / "to_label.jsonl")]
    assert len(asked) == len(set(asked)), "what has a label is not proposed again"
    assert not rows(folder / "round-3" / "to_label.jsonl"), "the last round only trains"
    again = [row["id"] for n in range(1, 4) for row in rows(folder / f"round-{n}" / "second_look.jsonl")]
    assert again and len(again) == len(set(again)), "what people said twice is left as it is"
    second = rows(folder / "round-1" / "to_label.jsonl")
    assert {row["proposed"] for row in second} == {"high", "low"}
    assert all((row["score"] >= 0.5) == (row["proposed"] == "high") for row in second)


def test_a_language_is_trusted_where_the_score_agrees_with_people(three_rounds):
    folder, _ = three_rounds
    card = json.loads((folder / "round-3" / "card.json").read_text())
    assert card["trusted"] == ["go", "python"] and card["round"] == 3
    assert min(card["languages"][name]["agreement"] for name in ("go", "python")) > 0.95
    assert card["languages"]["ruby"]["agreement"] < 0.8
    labels, empty = read_labels([folder / f"round-{n}" / "to_label.jsonl" for n in range(3)])
    assert sum(card["labels"].values()) == len(labels) and empty == 0
    report = json.loads((folder / "round-1" / "round.json").read_text())
    known = report["labels"] + report["without_label"]
    assert sum(report["documents"].values()) == 360 and report["documents"]["labelled already"] == known == 90


def test_each_call_needs_new_labels(tmp_path, capsys):
    settings = {"inputs": [str(corpus(tmp_path / "d.jsonl", 12))], "output": tmp_path / "s", "folds": 3}
    code_scorer(**settings, proposals=30)
    assert "call the same command again for round 1" in capsys.readouterr().out
    assert all(row["label"] is None for row in rows(tmp_path / "s/round-0/to_label.jsonl"))
    with pytest.raises(ValueError, match=r"No label is new: write high, .* in .*round-0/to_label.jsonl"):
        code_scorer(**settings)
    assert not (tmp_path / "s/round-1").exists()


def test_a_finished_scorer_is_left_as_it_is(three_rounds, capsys):
    folder, settings = three_rounds
    before = (folder / "round-3" / "card.json").stat().st_mtime_ns
    code_scorer(**settings)
    assert f"pipeline.quality.scorer.model={folder / 'round-3'}" in capsys.readouterr().out
    assert (folder / "round-3" / "card.json").stat().st_mtime_ns == before


def test_labels_that_the_others_contradict_get_a_second_look(tmp_path):
    """A tenth of the labels is wrong. The files of a round name them, and a second look mends them."""
    labeller = SimulatedLabeller(errors=0.1)
    inputs = [str(corpus(tmp_path / "d.jsonl", 60, ("python", "go")))]
    code_scorer(tmp_path / "s", inputs, proposals=150, labeller=labeller, folds=3, fit=small)
    truth = {document.id: labeller(document, True) for document in map(Document.from_json, rows(tmp_path / "d.jsonl"))}
    first = [row for n in range(3) for row in rows(tmp_path / f"s/round-{n}/to_label.jsonl")]
    wrong = {row["id"] for row in first if row["label"] != truth[row["id"]]}
    again = [row for n in range(1, 4) for row in rows(tmp_path / f"s/round-{n}/second_look.jsonl")]
    asked = {row["id"] for row in again}
    assert len(wrong) > 10 and len(asked) == len(again), "none is asked about twice"
    assert len(wrong & asked) / len(wrong) > 0.9 and len(wrong & asked) / len(asked) > 0.9
    assert all(row["label"] == truth[row["id"]] != row["was"] for row in again if row["id"] in wrong)
    assert json.loads((tmp_path / "s/round-3/card.json").read_text())["labels_by"] == "SIMULATED"


def test_no_label_is_scored_by_a_model_that_has_seen_its_repository(tmp_path):
    """Nothing but the repository tells the labels: whoever has seen it knows, others guess."""
    files = [
        Labelled(f"{r}-{n}", f"only{r} x{n}", "python", "high" if r % 2 else "low", f"r{r}")
        for r in range(24)
        for n in range(6)
    ]
    fitted = fit_scorer(files, 0.9, Trust(), 3, tmp_path, small)
    assert fitted.languages["python"]["agreement"] < 0.7
    assert not fitted.languages["python"]["trusted"]


def test_learned_classes_of_files(three_rounds):
    model = str(three_rounds[0] / "round-3")
    rule = pickle.loads(pickle.dumps(LearnedQuality(model)))
    files = [
        Document(source(name, kind, 1000), "code", name, "code", meta={"path": f"{kind}.{name}"})
        for name in ("python", "ruby")
        for kind in ("high", "low")
    ]
    good, bad, other, last = rule.judge(list(map(Page, files)))
    assert isinstance(good, Score) and good.rule == "code.quality_high" and good.value > 0.5
    assert isinstance(bad, Drop) and bad.rule == "code.quality_low" and bad.value < bad.threshold
    assert other == last == Score("code.quality_moderate", "unscored"), "ruby is not trusted"
    [kept] = LearnedQuality(model, common=["go"]).judge([Page(files[1])])
    assert kept == Score("code.quality_moderate", bad.value), "a low file of a rare language"
    pages = [
        Page(apply(verdict, file, "quality")) for verdict, file in zip((good, other), (files[0], files[2]), strict=True)
    ]
    judged = [page.document for page in pages]
    assert [apply(v, d, "quality") for v, d in zip(CodeQuality().judge(pages), judged, strict=True)] == judged
    assert assemble("r", judged).meta["scores"] == {"high.python": good.value}
    by_rules = LearnedQuality(model, others="rules").judge([Page(files[3])])
    assert isinstance(CodeQuality(common=["ruby"]).judge([Page(apply(by_rules[0], files[3], "quality"))])[0], Drop)


def test_what_is_not_a_scorer_or_a_label_is_refused(tmp_path):
    assert learned_quality(None) is None
    (tmp_path / "card.json").write_text('{"kind": "linear"}')
    with pytest.raises(ValueError, match="must be a round of `internlm2 code_scorer`"):
        LearnedQuality(str(tmp_path))
    path = tmp_path / "l.jsonl"
    path.write_text('{"text": "a", "language": "go", "label": "good"}\n')
    with pytest.raises(ValueError, match=r"l\.jsonl, line 1: label=good must be one of high, moderate, low"):
        read_labels([path])
    (tmp_path / "page.jsonl").write_text('{"text": "A page.", "type": "webpage"}\n')
    with pytest.raises(ValueError, match="hold no files of code, and there are no labels"):
        code_scorer(tmp_path / "s", [str(tmp_path / "page.jsonl")])
    path.write_text('{"text": "a", "label": "high"}\n')
    with pytest.raises(ValueError, match="strings under text and language"):
        read_labels([path])
    path.write_text("".join(json.dumps({"text": f"{n}", "language": "go", "label": "high"}) + "\n" for n in range(9)))
    with pytest.raises(ValueError, match="labelled low are from 0 repositories"):
        code_scorer(tmp_path / "s", labels=[str(path)])
    with pytest.raises(ValueError, match="folds=2 3 or more"):
        code_scorer(tmp_path / "s", folds=2)
