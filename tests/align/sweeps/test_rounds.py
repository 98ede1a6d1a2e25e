"""The table of a sweep of rounds, from folders as the job and Hydra leave them."""

import json

import pytest
from internlm2_align.sweeps.rounds import figures, summarise


def entry(number, patterns, earlier, judged):
    models = {"late": {"reward": 2.0, "characters": 9.0} | ({} if judged is None else {"judged": judged})}
    audit = {"patterns": [{"value": str(late), "late": late} for late in patterns], "models": models}
    return {"round": number, "audit": audit, "earlier_patterns": [{"late": late} for late in earlier]}


@pytest.fixture
def sweep(tmp_path):
    """With and without the fast path, two seeds each: the pattern of round 1 is gone in round 2, or is not."""
    folders = []
    for number, (most, seed, after) in enumerate([(100, 1, 0.0), (100, 2, 0.1), (0, 1, 0.8), (0, 2, 0.9)]):
        folder = tmp_path / str(number)
        (folder / ".hydra").mkdir(parents=True)
        words = ["+experiment=fast_path", f"round.most_fast={most}", f"seed={seed}"]
        (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {word}\n" for word in words))
        rounds = [entry(1, [0.6, 0.8], [], 0.5), entry(2, [], [after, after, None], 0.6)]
        (folder / "metrics.json").write_text(json.dumps({"rounds": rounds}))
        folders.append(folder)
    return folders


def test_figures_of_a_run(sweep):
    assert figures(sweep[1]) == {
        "reward@1": 2.0,
        "judged@1": 0.5,
        "patterns@1": 2,
        "shown@1": pytest.approx(0.7),
        "reward@2": 2.0,
        "judged@2": 0.6,
        "patterns@2": 0,
        "shown@2": pytest.approx(0.1),
    }


def test_what_is_not_known_is_left_out(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"rounds": [entry(1, [], [], None)]}))
    assert figures(tmp_path) == {"reward@1": 2.0, "patterns@1": 0}


def test_a_run_that_waits_for_people_is_named(sweep):
    (sweep[2] / "metrics.json").unlink()
    with pytest.raises(ValueError, match=f"{sweep[2]} has no metrics.json: it waits for labels"):
        figures(sweep[2])


def test_table_and_picture(sweep, tmp_path):
    summarise(tmp_path, sweep)
    content = json.loads((tmp_path / "ablation.json").read_text())
    assert content["rounds"]["round.most_fast=0"]["shown@2"]["mean"] == pytest.approx(0.85)
    gap = content["differences"]["round.most_fast=100 - round.most_fast=0"]["shown@2"]
    assert gap == {"mean": pytest.approx(-0.8), "half_width": pytest.approx(0.0, abs=1e-9)}
    assert "| round.most_fast=0 | 2.000" in (tmp_path / "ablation.md").read_text()
    pytest.importorskip("matplotlib")
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")
