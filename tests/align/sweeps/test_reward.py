"""The table of a sweep, from folders as Hydra leaves them."""

import json
import math

import pytest
from internlm2_align.sweeps.reward import accuracies, summarise
from internlm2_align.sweeps.table import differences, read_runs, table


@pytest.fixture
def sweep(tmp_path):
    """Folders of the jobs."""
    accuracies = {("default", 1): 0.8, ("default", 2): 0.9, ("none", 1): 0.5, ("none", 2): 0.5}
    for number, ((conditions, seed), accuracy) in enumerate(accuracies.items()):
        folder = tmp_path / str(number)
        (folder / ".hydra").mkdir(parents=True)
        words = ["+experiment=conditions", f"conditions={conditions}", f"seed={seed}"]
        (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {word}\n" for word in words))
        slices = {"conflicting": {"accuracy": accuracy - 0.1}}
        held = {"accuracy": accuracy, "domains": {"maths": {"accuracy": accuracy, "slices": slices}}}
        (folder / "metrics.json").write_text(json.dumps({"heldout": held}))
    return [tmp_path / str(number) for number in range(len(accuracies))]


def test_settings_are_what_differs_beside_the_seed(sweep):
    assert {(run.setting, run.seed) for run in read_runs(sweep, accuracies)} == {
        (f"conditions={name}", seed) for name in ("default", "none") for seed in ("1", "2")
    }


def test_intervals_by_hand(sweep):
    cells = table(read_runs(sweep, accuracies))
    cell = cells["conditions=default"]["maths"]
    assert cell.mean == pytest.approx(0.85)
    # Two seeds: standard deviation 0.1 / sqrt 2, divided by sqrt 2, times t = 12.706.
    assert cell.half_width == pytest.approx(12.706 * 0.05)
    assert cells["conditions=none"]["mean"].half_width == 0
    assert cells["conditions=none"]["maths/conflicting"].mean == pytest.approx(0.4)


def test_one_seed_has_no_interval(sweep):
    single = [run for run in read_runs(sweep, accuracies) if run.seed == "1"]
    cell = table(single)["conditions=default"]["mean"]
    assert math.isnan(cell.half_width) and cell.show(100, 1) == "80.0"


def test_differences_are_taken_seed_by_seed(sweep):
    (row,) = differences(read_runs(sweep, accuracies)).items()
    assert row[0] == "conditions=default - conditions=none"
    # 0.3 and 0.4 by seed.
    assert row[1]["maths"].mean == pytest.approx(0.35)
    assert row[1]["maths"].half_width == pytest.approx(12.706 * 0.05)


def test_differences_want_the_seed_on_both_sides(sweep):
    runs = [run for run in read_runs(sweep, accuracies) if (run.setting, run.seed) != ("conditions=none", "2")]
    cell = differences(runs)["conditions=default - conditions=none"]["mean"]
    assert cell.mean == pytest.approx(0.3) and math.isnan(cell.half_width)


def test_files(sweep, tmp_path):
    summarise(tmp_path, sweep)
    content = json.loads((tmp_path / "ablation.json").read_text())
    assert content["seeds"] == ["1", "2"]
    assert content["accuracy"]["conditions=none"]["mean"] == {"mean": 0.5, "half_width": 0.0}
    assert content["differences"]["conditions=default - conditions=none"]["mean"]["mean"] == pytest.approx(0.35)
    assert "| conditions=default | 85.0 ± 63.5 |" in (tmp_path / "ablation.md").read_text()


def test_runs_of_another_sweep_do_not_count(sweep, tmp_path):
    summarise(tmp_path, sweep[:2])
    assert set(json.loads((tmp_path / "ablation.json").read_text())["accuracy"]) == {"default"}


def test_a_sweep_without_figures_is_refused(sweep):
    with pytest.raises(ValueError, match="No job of the sweep has finished"):
        read_runs([], accuracies)
    (sweep[0] / "metrics.json").write_text(json.dumps({"heldout": None}))
    with pytest.raises(ValueError, match=r"0/metrics.json has no held-out figures.*heldout_share above 0"):
        read_runs(sweep, accuracies)
