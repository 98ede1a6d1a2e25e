"""`internlm2 reward` as it is typed, tiny: a sweep with its table, and what a run may go on from."""

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.command import internlm2

pytestmark = pytest.mark.slow

WORDS = (
    *("checkpoint=sft", "preferences=[pairs.jsonl]", "heldout=[]", "heldout_share=0.3", "optimizer.lr=1e-2"),
    *(
        "max_tokens=400",
        "batches.budget_tokens=2000",
        "trainer.accelerator=cpu",
        "logger=none",
        "optimizer.fused=false",
    ),
)


@pytest.fixture
def folder(with_sft_model: Path) -> Path:
    write_pairs(with_sft_model / "pairs.jsonl", 12)
    return with_sft_model


def write_pairs(file: Path, count: int) -> None:
    pairs = [
        {
            "domain": domain,
            "prompt": [{"role": "user", "content": f"q{i}"}],
            "chosen": replies[0],
            "rejected": replies[1],
        }
        for i in range(count)
        for domain, replies in (("helpful", ("yes", "no")), ("harmless", ("no", "yes")))
    ]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))


def reward(folder: Path, *words: str) -> CompletedProcess[str]:
    return internlm2("reward", *words, *WORDS, folder=folder)


def test_a_sweep_has_a_folder_and_a_table_of_its_own(folder: Path) -> None:
    # What a larger sweep has left there.
    leftover = folder / "runs" / "reward-conditions" / "4"
    (leftover / ".hydra").mkdir(parents=True)
    (leftover / ".hydra" / "overrides.yaml").write_text("- loss.gamma=1\n")
    (leftover / "metrics.json").write_text('{"heldout": {"accuracy": 1.0, "domains": {}}}')
    (leftover / "done.json").write_text('"earlier"')
    done = reward(folder, "-m", "+experiment=conditions", "seed=1,2")
    assert done.returncode == 0, done.stderr[-3000:]
    table = json.loads((folder / "runs" / "reward-conditions" / "ablation.json").read_text())
    assert table["seeds"] == ["1", "2"]
    assert set(table["accuracy"]) == {"conditions=default", "conditions=none"}
    assert set(table["differences"]) == {"conditions=default - conditions=none"}
    # Without prompts the domains, which want the opposite of each other, are right half of the time.
    none = table["accuracy"]["conditions=none"]
    assert none["helpful"]["mean"] + none["harmless"]["mean"] == pytest.approx(1.0)
    assert not (folder / "runs" / "reward").exists()
    # Another sweep in the same folder is refused before it takes over a model.
    other = reward(folder, "-m", "+experiment=gamma", "seed=1,2", "output=runs/reward-conditions")
    assert other.returncode != 0
    assert "loss.gamma was 2.0, is now 0" in other.stderr and "Traceback" not in other.stderr


def test_a_run_goes_on_with_its_own_settings_alone(folder: Path) -> None:
    assert reward(folder, "output=r1").returncode == 0
    weights = (folder / "r1" / "model" / "model.safetensors").read_bytes()
    other = reward(folder, "output=r1", "loss.gamma=0", "conditions=none")
    assert other.returncode != 0
    for part in ("loss.gamma was 2.0, is now 0", "load_conditions", "without_conditions", "output=FOLDER",
                 "delete r1/checkpoints/*.ckpt"):  # fmt: skip
        assert part in other.stderr
    assert len(other.stderr.strip().splitlines()) == 1
    assert json.loads((folder / "r1" / "metrics.json").read_text())["conditional"] is True
    write_pairs(folder / "pairs.jsonl", 13)
    assert "pairs.jsonl has other contents now" in reward(folder, "output=r1").stderr
    write_pairs(folder / "pairs.jsonl", 12)
    # How it is computed may change.
    again = reward(folder, "output=r1", "checkpoint_every=1", "batches.row_tokens=500")
    assert again.returncode == 0, again.stderr
    assert (folder / "r1" / "model" / "model.safetensors").read_bytes() == weights
    shutil.rmtree(folder / "r1" / "checkpoints")
    assert reward(folder, "output=r1", "loss.gamma=0").returncode == 0
    assert (folder / "r1" / "model" / "model.safetensors").read_bytes() != weights
