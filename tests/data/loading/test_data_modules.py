"""Data modules hand each rank its share, and say what a run asks of its data."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from internlm2_data import BatchData, ChatData, PackedBatches, PretrainData
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy


class Ranks(DDPStrategy):
    """A strategy that says which of two ranks it is."""

    def __init__(self, rank):
        super().__init__()
        self.rank = rank

    @property
    def distributed_sampler_kwargs(self):
        return {"rank": self.rank, "num_replicas": 2}


def trained_by(data, strategy=None):
    data.trainer = SimpleNamespace(strategy=strategy or SingleDeviceStrategy("cpu"))
    return data


@pytest.fixture
def batches(numbered):
    return PackedBatches({"web": numbered(40, 0)}, context=16, batch_rows=4, seed=1)


def ids(loader):
    return [batch["input_ids"] for batch in loader]


def test_each_rank_reads_its_share(batches):
    whole = ids(trained_by(BatchData(batches)).train_dataloader())
    shares = [ids(trained_by(BatchData(batches), Ranks(rank)).train_dataloader()) for rank in (0, 1)]
    assert len(whole) == len(shares[0]) == len(shares[1]) == BatchData(batches).steps_per_pass(1) > 2
    for batch, *parts in zip(whole, *shares, strict=True):
        assert torch.equal(batch[0::2], parts[0]) and torch.equal(batch[1::2], parts[1])


def test_validation_begins_at_the_start_each_time(batches, numbered):
    file = numbered(30, 1, "held")
    data = trained_by(BatchData(batches, {"a": file, "b": str(file)}))
    assert data.validation_names == ["a", "b"] == list(data.held_out)
    first, second = data.val_dataloader()
    whole = ids(first)
    assert len(whole) == len(first) > 1
    next(iter(second))  # Left in the middle.
    for loader in (first, second, *data.test_dataloader(), *data.predict_dataloader()):
        assert all(map(torch.equal, ids(loader), whole)) and len(loader) == len(whole)
    assert trained_by(BatchData(batches)).val_dataloader() == []


def test_pretraining_from_a_folder(numbered):
    file = numbered(40, 0)
    data = trained_by(PretrainData(file.parent, 16, 4, validation={"web": file}, short_context=8))
    (batch, *_) = data.train_dataloader()
    assert batch["input_ids"].shape == (4, 16) and batch["position_ids"].max() < 8
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PretrainData(file.parent / "nowhere", 16, 4)


def test_conversations_from_files(tmp_path):
    file = tmp_path / "chats.jsonl"
    file.write_text(json.dumps({"instruction": "1+1?", "output": "2"}) + "\n")

    def encode(messages):
        words = "".join(message["content"] for message in messages)
        return SimpleNamespace(ids=[ord(letter) for letter in words], loss_mask=[False] * 4 + [True])

    data = trained_by(ChatData(file, encode, 8, 1, validation={"same": [file]}, pad_id=3))
    (batch,) = data.train_dataloader()
    assert batch["input_ids"].tolist() == [[*map(ord, "1+1?2"), 3, 3, 3]]
    assert batch["labels"].tolist() == [[-100, -100, -100, ord("2"), -100, -100, -100, -100]]
    assert torch.equal(next(iter(data.val_dataloader()[0]))["labels"], batch["labels"])


def test_the_package_is_imported_without_torch():
    code = "import sys, internlm2_data; assert not {'torch', 'lightning'} & set(sys.modules); internlm2_data.missing"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "AttributeError: module 'internlm2_data' has no attribute 'missing'" in found.stderr
