"""`internlm2 reward` on several ranks: pairs are shared out, the model is gathered, the first rank measures it."""

import json
from functools import partial

import pytest
import torch
from internlm2_align import ConversationEncoder, PreferenceData, RewardModel
from internlm2_align.jobs import reward
from internlm2_align.preferences.preference import Preference, to_record
from internlm2_align.reward.callbacks import Curve, SaveReward
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.network import start_reward
from internlm2_align.reward.pairs import PairBatches
from internlm2_core.callbacks import Checkpoints
from internlm2_core.checkpoint import save_released
from internlm2_core.optim import Cosine
from internlm2_core.text import load_tokenizer
from internlm2_parallel import Layout, MeshStrategy
from internlm2_parallel.testing import LAYOUTS, RankError, quiet_trainer, run_ranks
from safetensors.torch import load_file


@pytest.fixture
def folder(tmp_path, make_model, tokenizer_file):
    net = make_model()
    save_released(tmp_path / "sft", net.size, net.state_dict().items(), tokenizer_file)
    pairs = [
        Preference(domain, ({"role": "user", "content": f"question {index}"},), "yes" * (index % 7 + 1), "no" * index)
        for index in range(1, 25)
        for domain in ("helpful", "harmless")
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(to_record(pair)) + "\n" for pair in pairs))
    return tmp_path


def train(folder, output, devices, strategy, budget_tokens, row_tokens=0):
    torch.set_num_threads(1)
    checkpoint, output = str(folder / "sft"), folder / output
    conditions = Conditions({"helpful": {"en": "H"}, "harmless": {"en": "S"}})
    encoder = ConversationEncoder(load_tokenizer(checkpoint), conditions, 256)
    module = RewardModel(
        partial(start_reward, checkpoint), encoder, partial(torch.optim.AdamW, lr=1e-3), Cosine(-1, floor=0.5)
    )
    batches = PairBatches(budget_tokens, row_tokens=row_tokens)
    kept = folder / f"{output.name}-pairs"  # encoded once, and mapped by all ranks
    data = PreferenceData([str(folder / "pairs.jsonl")], encoder, batches, heldout_share=0.25, folder=kept)
    callbacks = [SaveReward(output / "model"), Curve(), Checkpoints(output / "checkpoints", every_n_train_steps=3)]
    settings = {"limit_val_batches": 0, "enable_checkpointing": True, "callbacks": callbacks}
    metrics = reward(module, data, quiet_trainer(strategy, devices, max_epochs=2, **settings), str(output))
    return {key: metrics[key] for key in ("steps", "curve", "heldout", "pairs") if metrics}


def on_ranks(folder, name, budget_tokens, row_tokens=0):
    case = LAYOUTS[name]
    make = lambda: MeshStrategy(case.layout, case.treatment, deferred=True)  # noqa: E731
    found = run_ranks(
        lambda: train(folder, name, case.ranks, make(), budget_tokens, row_tokens), case.ranks, join=False
    )
    assert all(metrics == {} for metrics in found[1:])
    assert json.loads((folder / name / "metrics.json").read_text())["heldout"] == found[0]["heldout"]
    return found[0], load_file(folder / name / "model" / "model.safetensors")


def assert_close(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-4, atol=1e-5)


def test_tensor_ranks_train_the_model_of_one_process(folder):
    alone = train(folder, "alone", 1, "auto", 600)
    metrics, weights = on_ranks(folder, "tensor", 600)
    assert_close(weights, load_file(folder / "alone" / "model" / "model.safetensors"))
    assert (metrics["steps"], metrics["pairs"]) == (alone["steps"], alone["pairs"])
    assert [point["loss"] for point in metrics["curve"]] == pytest.approx([p["loss"] for p in alone["curve"]], 1e-4)


def test_data_ranks_share_the_pairs_and_agree(folder):
    whole, copies = on_ranks(folder, "ddp", 300)
    sharded, shards = on_ranks(folder, "fsdp", 300)
    assert_close(copies, shards)
    assert whole["steps"] == sharded["steps"]
    alone = train(folder, "alone", 1, "auto", 300)
    assert whole["steps"] == pytest.approx(alone["steps"] / 2, abs=2)  # each rank fills a budget of its own


def test_ranks_with_fewer_rows_wait_for_no_one(folder):
    """Ranks cut batches into rows by their own pairs; FSDP gathers weights in each."""
    _, whole = on_ranks(folder, "fsdp", 300)
    _, in_rows = on_ranks(folder, "hsdp", 300, row_tokens=80)
    (folder / "fsdp" / "model" / "model.safetensors").unlink()
    (folder / "fsdp" / "checkpoints").rename(folder / "fsdp" / "old")
    _, again = on_ranks(folder, "fsdp", 300, row_tokens=80)
    assert_close(again, whole)
    assert in_rows.keys() == whole.keys()


def test_rows_and_stages_are_not_cut(folder):
    with pytest.raises(RankError, match=r"splits_\w+=True.*Take fsdp or tensor"):
        on_ranks(folder, "context ulysses", 300)


def test_a_run_goes_on_with_as_many_data_ranks(folder):
    on_ranks(folder, "ddp", 300)
    with pytest.raises(RankError, match=r"data ranks=2, this run has 1"):
        run_ranks(lambda: train(folder, "ddp", 1, MeshStrategy(Layout()), 300), 1, join=False)
