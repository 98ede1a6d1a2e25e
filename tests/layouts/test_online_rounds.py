"""`internlm2 online_rlhf` whose PPO and reward training run on two ranks, while it works alone between them."""

import json

import pytest
import torch
from internlm2_align.preferences.preference import Preference, to_record
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.network import from_language_model, load_reward, save_reward
from internlm2_core.checkpoint import load_released, save_released

from tests.command import internlm2


def instruction(number: int) -> dict:
    total = number + 3
    turns = [("user", f"#{number}: {number} + 3 = ?"), ("assistant", f"The sum is {total}.")]
    messages = [{"role": role, "content": text} for role, text in turns]
    check = {"kind": "number", "value": total}
    return {"id": f"sum-{number}", "task": "arithmetic", "language": "en", "messages": messages,
            "answer": str(total), "check": check}  # fmt: skip


def write(path, records) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def folder(tmp_path, make_model, tokenizer_file):
    net = make_model()
    save_released(tmp_path / "sft", net.size, net.state_dict().items(), tokenizer_file)
    scored = from_language_model(net, torch.Generator().manual_seed(1))
    conditions = Conditions({"maths": {"en": "M"}})
    save_reward(tmp_path / "scores", net.size, scored.state_dict(), tokenizer_file, conditions)
    write(tmp_path / "train.jsonl", map(instruction, range(12)))
    write(tmp_path / "heldout.jsonl", map(instruction, range(100, 104)))
    for name, start in (("pairs", 0), ("held", 100)):
        turns = ({"role": "user", "content": "2 + 2 = ?"},)
        write(tmp_path / f"{name}.jsonl", (
            to_record(Preference("maths", ({**turns[0], "content": f"{n} + 3 = ?"},), str(n + 3), str(n + 4)))
            for n in range(start, start + 8)
        ))  # fmt: skip
    return tmp_path


@pytest.mark.slow
def test_rounds_whose_ppo_and_reward_training_run_on_two_ranks(folder):
    """PPO, audit, labels, reward training and PPO again, sharded and with whole weights in turn."""
    ranks = {"trainer.devices": 2, "trainer.accelerator": "cpu", "max_tokens": 256}
    ppo = {"queries": 4, "iterations": 2, "validate_every": 2, "settings.warmup_iterations": 1, "pretrain": "null",
           "sampling.max_new_tokens": 4}  # fmt: skip
    reward = {"batches.budget_tokens": 128, "conditions.file": folder / "scores" / "conditions.yaml"}
    keys = {f"stages.ppo.{key}": value for key, value in {"strategy": "fsdp", **ranks, **ppo}.items()}
    keys |= {f"stages.reward.{key}": value for key, value in {"strategy": "ddp", **ranks, **reward}.items()}
    done = internlm2(
        "online_rlhf", "checkpoint=sft", "reward=scores", "preferences=[pairs.jsonl]",
        "heldout_preferences=[held.jsonl]", "prompts=train.jsonl", "heldout=heldout.jsonl", "annotator=simulated",
        "domains={arithmetic: maths}", "rounds=2", "output=out", "round.prompts_per_round=6", "round.max_tokens=256",
        "round.probe.sampling.max_new_tokens=4", "round.probe.samples=1",
        *(f"{key}={value}" for key, value in keys.items()),
        folder=folder, timeout_s=900,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    # Nothing is said once by each rank, and libraries have nothing to warn of.
    assert said.count("no validation was better") <= 2 and "sync_dist" not in said and "view tensor" not in said
    first, second = json.loads((folder / "out" / "metrics.json").read_text())["rounds"]
    for entry in (first, second):
        assert entry["ppo"]["iterations"] == 2 and set(entry["audit"]["models"]) == {"sft", "early", "late"}
    added = first["audit"]["slow_pairs"] + first["audit"]["fast_pairs"]
    assert second["reward"]["pairs"]["train"]["used"] == 8 + added and second["reward"]["heldout"]["pairs"] == 8
    begun = load_released(folder / "sft").state_dict()
    for number in (1, 2):
        ppo = folder / "out" / f"round-{number}" / "ppo"
        trained = load_released(ppo / "last").state_dict()
        assert any(not torch.equal(weight, trained[name]) for name, weight in begun.items())
        # Both ranks have written their parts of the checkpoint.
        assert list((ppo / "checkpoints").glob("*.ckpt/rank-1.pt"))
    scored, learnt = (load_reward(path).state_dict() for path in (folder / "scores", folder / "out" / "reward"))
    assert any(not torch.equal(weight, learnt[name]) for name, weight in scored.items())
