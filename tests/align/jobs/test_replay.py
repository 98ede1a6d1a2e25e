"""An iteration that was stored gives the same losses again. Another reward model, another actor and a change are told."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from internlm2_align.jobs import replay
from internlm2_align.ppo.store import file_of, read_rollout
from safetensors.torch import load_file, save_file


@pytest.fixture
def run(tmp_path, sft, reward_folder, run_ppo):
    run_ppo(sft, str(reward_folder / "model"), str(tmp_path / "ppo"))
    return tmp_path / "ppo"


def test_replay(run, reward_folder, tmp_path, capsys):
    """One run for all, since each costs seconds."""
    reward, out = reward_folder / "model", tmp_path / "replay"
    same = replay(str(run), 3, str(out), str(reward), str(run / "snapshots" / "iteration-2"), show=2)
    assert same["differs"] == [] and json.loads((out / "replay.json").read_text()) == same
    assert same["losses"]["logged"].keys() == {"reward", "policy_loss", "value_loss"}
    assert same["rescored"]["difference"] < 1e-5 and same["actor"]["largest"] < 1e-4
    assert "as they were" in capsys.readouterr().out
    lines = (out / "replay.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| best"] * 2 + ["| worst"] * 2
    stored = read_rollout(run / "rollouts", 3)
    assert float(lines[4].split(" | ")[1]) == pytest.approx(stored.scores.max().item(), abs=0.006)
    _turned(reward)
    other = replay(str(run), 3, str(out), str(reward), str(run / "last"))
    assert other["rescored"]["pairs_turned"] > 0.9 and other["actor"]["mean"] > 1e-4
    assert "the other way round" in other["differs"][0] and "nats a token" in other["differs"][1]
    with pytest.raises(FileNotFoundError, match=r"has no rollout of iteration=9\. There are those of 1 to 4"):
        replay(str(run), 9, str(out))
    _changed(file_of(run / "rollouts", 3))
    broken = replay(str(run), 3, str(out))
    assert [line.split()[0] for line in broken["differs"]] == ["policy_loss", "value_loss", "advantages"]
    with pytest.raises(ValueError, match=r"show=0 must be 1 or more"):
        replay(str(run), 3, str(out), show=0)


def _turned(reward):
    """A reward model that pays for the opposite."""
    weights = load_file(reward / "model.safetensors")
    weights["v_head.weight"] = -weights["v_head.weight"]
    save_file(weights, reward / "model.safetensors", metadata={"format": "pt"})


def _changed(file):
    """A value of the critic that was another one."""
    table = pq.read_table(file)
    values = table.column("values").to_pylist()
    values[0][0] += 1.0
    place = table.schema.get_field_index("values")
    pq.write_table(
        table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type)), file
    )


def test_what_is_stored_is_what_was_learned_from(run):
    stored = read_rollout(run / "rollouts", 2)
    history = json.loads((run / "metrics.json").read_text())["history"]
    [entry] = [entry for entry in history if entry["iteration"] == 2 and "train/reward" in entry]
    assert stored.about["figures"] == entry and stored.about["settings"]["clip"] == 0.2
    assert [row["query"] for row in stored.rows] == list(range(6))
    assert stored.scores.mean().item() == pytest.approx(entry["train/reward"])
    mask = stored.responses.mask()
    assert mask.sum().item() / 6 == pytest.approx(entry["train/length"])
    kl = (stored.padded("logprobs") - stored.padded("reference_logprobs")).sum(1).mean().item()
    assert kl == pytest.approx(entry["train/kl"], abs=1e-6)
    gaps = (stored.padded("engine_logprobs") - stored.padded("logprobs"))[mask].abs()
    assert torch.all(gaps < 1e-4) and all(row["reply"] is not None and json.loads(row["prompt"]) for row in stored.rows)
