"""core meets data: a batch of the loader is what LM reads, and Lightning saves the loader's place."""

import json
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.batch import Batch
from internlm2_core.optim import Constant
from internlm2_core.text import ByteTokenizer, ChatEncoder, ChatFormat
from internlm2_data import BatchData, ChatBatches, PackedBatches
from internlm2_data.tokens import TokenWriter
from internlm2_parallel.testing import quiet_trainer

SIZE = ModelSize(layers=1, dim=16, num_kv_heads=1, q_per_kv=2, ffn_dim=24, vocab_size=266, head_dim=8, max_positions=32)


@pytest.fixture
def batches(tmp_path: Path) -> PackedBatches:
    with TokenWriter(tmp_path / "text", 266) as writer:
        for length in range(3, 90):
            writer.add([(length * i) % 266 for i in range(length)])
    return PackedBatches({"text": tmp_path / "text"}, context=32, batch_rows=2, seed=1)


def module() -> LM:
    def make() -> LanguageModel:
        net = LanguageModel(SIZE)
        net.init_weights(torch.Generator().manual_seed(0))
        return net

    return LM(make, partial(torch.optim.AdamW, lr=1e-2), Constant())


def trainer(steps: int) -> L.Trainer:
    return quiet_trainer("auto", 1, max_steps=steps, max_epochs=None)


def test_the_keys_and_types_are_those_that_core_declares(batches: PackedBatches) -> None:
    batch = next(iter(batches.loader()))
    assert set(Batch.__annotations__) <= set(batch)
    assert all(batch[name].dtype == torch.int64 and batch[name].shape == (2, 32) for name in Batch.__annotations__)
    starts = batch["position_ids"] == 0
    assert starts[:, 0].all()
    # The last token of a document has no label; every other label is the next token.
    ends = torch.cat((starts[:, 1:], torch.ones(2, 1, dtype=torch.bool)), 1)
    inside = ~ends & (batch["labels"] != -100)
    assert torch.equal(batch["labels"][inside], batch["input_ids"].roll(-1, 1)[inside])


def test_a_run_resumes_in_mid_epoch_to_the_same_weights(batches: PackedBatches, tmp_path: Path) -> None:
    whole = module()
    trainer(6).fit(whole, datamodule=BatchData(batches))
    first = trainer(3)
    first.fit(module(), datamodule=BatchData(batches))
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed = module()
    trainer(6).fit(resumed, datamodule=BatchData(batches), ckpt_path=tmp_path / "half.ckpt")
    torch.testing.assert_close(resumed.net.state_dict(), whole.net.state_dict(), atol=0, rtol=0)


def test_chat_batches_carry_cores_loss_mask(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n' * 3)
    tokenizer = ByteTokenizer()
    chats = ChatBatches([file], ChatFormat(tokenizer).encode, context=64, batch_rows=1, seed=0)
    labels = torch.cat([batch["labels"].flatten() for batch in chats.loader()])
    trained = labels[labels != -100].tolist()
    assert tokenizer.decode(trained) == "a<|im_end|>" * 3


def test_a_turn_that_only_calls_is_trained_on(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "2"},
    ]
    (tmp_path / "calls.jsonl").write_text(json.dumps({"messages": turns}))
    tokenizer = ByteTokenizer()
    (batch,) = ChatBatches(tmp_path / "calls.jsonl", ChatEncoder(tokenizer), context=256, batch_rows=1, seed=0).loader()
    trained = tokenizer.decode(batch["labels"][batch["labels"] != -100].tolist())
    assert trained == '<|action_start|><|plugin|>\n{"name": "add", "arguments": {"a": 1}}<|action_end|><|im_end|>'
