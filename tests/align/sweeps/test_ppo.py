"""The table of a sweep of PPO runs, from folders as the job and Hydra leave them."""

import json

import pytest
from internlm2_align.sweeps.ppo import figures, summarise


@pytest.fixture
def sweep(tmp_path):
    """Folders of the jobs: two critics, two seeds, of which the first setting gains 1 and 2, the second 0."""
    folders = []
    for number, (critic, seed, gain) in enumerate(
        [("reward", 1, 1.0), ("reward", 2, 2.0), ("sft", 1, 0), ("sft", 2, 0)]
    ):
        folder = tmp_path / str(number)
        (folder / ".hydra").mkdir(parents=True)
        words = ["+experiment=critic", f"roles.critic={critic}", f"seed={seed}"]
        (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {word}\n" for word in words))
        valid = [
            {"iteration": at, "valid/reward": -1 + gain * at / 2, "valid/reward/maths": 0.5, "valid/kl": 0.1 * at}
            for at in (0, 2)
        ]
        learnt = [{"iteration": at, "critic_only": at == 1, "train/explained_variance": 0.2 * at} for at in (1, 2)]
        metrics = {"start": valid[0], "last": valid[1], "history": [valid[0], *learnt, valid[1]]}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        folders.append(folder)
    return folders


def test_figures_of_a_run(sweep):
    assert figures(sweep[1]) == {
        "valid/reward": 1.0,
        "valid/reward gained": 2.0,
        "valid/reward/maths": 0.5,
        "valid/kl": 0.2,
    }


def test_table_differences_and_course(sweep, tmp_path):
    summarise(tmp_path, sweep)
    content = json.loads((tmp_path / "ablation.json").read_text())
    assert content["last"]["roles.critic=reward"]["valid/reward gained"]["mean"] == 1.5
    # Two seeds: standard deviation 1 / sqrt 2, divided by sqrt 2, times t = 12.706.
    gap = content["differences"]["roles.critic=reward - roles.critic=sft"]["valid/reward"]
    assert gap == {"mean": 1.5, "half_width": pytest.approx(12.706 / 2)}
    assert content["course"]["roles.critic=sft"]["train/explained_variance@2"]["mean"] == 0.4
    assert "valid/judge@0" not in content["course"]["roles.critic=sft"]
    assert "| roles.critic=reward | 0.500 ± 6.353 |" in (tmp_path / "ablation.md").read_text()


def test_the_course_is_drawn(sweep, tmp_path):
    pytest.importorskip("matplotlib")
    summarise(tmp_path, sweep[:2])
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")
