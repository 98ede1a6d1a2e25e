"""The code of the package's pages runs."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from internlm2_align import ConversationEncoder, Preference, RewardModel, load_conditions
from internlm2_align.preferences.preference import to_record
from internlm2_align.reward.network import start_reward
from internlm2_core.text import load_tokenizer

PAGES = Path(__file__).parents[2] / "packages" / "align" / "docs"


@pytest.fixture
def folder(tmp_path, monkeypatch, save_random_model, make_records):
    """A folder with an SFT model, records and pairs, in which the pages are run."""
    sizes = {"layers": 1, "dim": 32, "num_kv_heads": 1, "q_per_kv": 1, "ffn_dim": 32, "head_dim": 32}
    save_random_model(tmp_path / "runs" / "sft" / "model", max_positions=1024, **sizes)
    for name, start in (("train", 0), ("heldout", 50)):
        records = make_records(4, start)
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    asked = [({"role": "user", "content": f"{i} + 1?"},) for i in range(8)]
    pairs = [Preference("maths", prompt, str(i + 1), "no") for i, prompt in enumerate(asked)]
    (tmp_path / "runs" / "label").mkdir()
    (tmp_path / "runs" / "label" / "train.jsonl").write_text(
        "".join(json.dumps(to_record(pair)) + "\n" for pair in pairs)
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def code_of(page: str) -> dict:
    names: dict = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", (PAGES / page).read_text("utf-8"), re.S):
        exec(compile(block, page, "exec"), names)
    return names


def test_reward(folder):
    data = code_of("reward.md")["data"]
    assert data.counts["train"]["used"] + data.counts["heldout"]["used"] == 8
    assert (folder / "runs" / "mine" / "conditions.yaml").is_file()


def test_ppo(folder):
    sft = folder / "runs" / "sft" / "model"
    reward = RewardModel(partial(start_reward, sft), ConversationEncoder(load_tokenizer(sft), load_conditions()))
    reward.configure_model()
    reward.save(folder / "runs" / "reward" / "model", sft)
    assert code_of("ppo.md")["system"].iteration == 2


def test_people(folder):
    queue = code_of("people.md")["queue"]
    assert list(queue.decided()) == ["q1"] and len(queue.judgements()) == 1
    assert (folder / "runs" / "people" / "preferences.jsonl").read_text().count("\n") == 1


def test_add_a_loss(folder):
    page = code_of("add-a-loss.md")
    chosen, rejected = torch.tensor([2.0, 0.5]), torch.tensor([0.0, 0.0])
    assert page["hinge_loss"](chosen, rejected, pairs=2).item() == pytest.approx(0.25)
    assert page["trainer"].global_step == 1
    mask, tokens = torch.tensor([[True, True, False]]), 2
    values, returns = torch.tensor([[0.5, 3.0, torch.inf]]), torch.zeros(1, 3)
    found = page["clipped_value_loss"](values, returns, mask, tokens=tokens)
    assert found.item() == pytest.approx((0.25 + 1.0) / 4)
    advantages = torch.tensor([[1.0, -2.0, 5.0]])
    found = page["plain_policy_loss"](returns, returns, advantages, mask, tokens=tokens, clip=0.2)
    assert found.item() == pytest.approx(0.5)


def test_add_an_annotator(folder):
    metrics = code_of("add-an-annotator.md")["metrics"]
    texts = [(folder / "runs" / "mine" / f"{side}.jsonl").read_text() for side in ("train", "heldout")]
    pairs = [json.loads(line) for text in texts for line in text.splitlines()]
    assert len(pairs) == 12 == sum(each["pairs"] for each in metrics["sets"].values())
    assert all(pair["source"] == "brief" and pair["rejected"].startswith("I would rather") for pair in pairs)
