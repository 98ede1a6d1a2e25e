"""`internlm2 sft` as a person types it: from conversations to a chat model, and mistakes that end in one sentence."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from internlm2_core.checkpoint.released import load_released
from internlm2_core.jobs import convert
from internlm2_core.text import ChatEncoder, TrainedTokenizer
from safetensors.torch import load_file

from tests.command import internlm2

SIZE = {
    "layers": 1, "dim": 32, "num_kv_heads": 1, "q_per_kv": 2, "ffn_dim": 48, "vocab_size": 288, "head_dim": 16,
    "max_positions": 64,
}  # fmt: skip


def chats(count: int, answer: str) -> list[dict[str, object]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"say {i % 10}"},
                {"role": "assistant", "content": f"{answer} {i % 10}"},
            ]
        }
        for i in range(count)
    ]


def write(file: Path, records: list[dict[str, object]]) -> None:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path, save_random_model: Callable[..., Path]
) -> Path:
    """A base model, and conversations to train and to measure on."""
    folder = tmp_path_factory.mktemp("sft")
    save_random_model(folder / "base", **SIZE)
    (folder / "other.json").write_text(tokenizer_file.read_text().replace("<|plugin|>", "<|plagin|>"))
    named = tokenizer_file.read_text()
    convert(str(folder / "base"), str(folder / "llama"), "llama")
    (folder / "llama" / "tokenizer.json").write_text(named.replace("<|im_", "<|other_"))
    convert(str(folder / "base"), str(folder / "llama-chat"), "llama")
    write(folder / "train.jsonl", chats(24, "yes"))
    write(folder / "en.jsonl", chats(3, "yes"))
    write(folder / "zh.jsonl", chats(5, "是"))
    write(folder / "asked.jsonl", [{"messages": [{"role": "user", "content": "hi"}]}])
    write(folder / "null.jsonl", [{"instruction": "hi", "output": "yo"}, {"instruction": "hi", "output": None}])
    return folder


def sft(folder: Path, *overrides: str) -> CompletedProcess[str]:
    words = [
        *("init_from=base", "conversations=train.jsonl", "phase.context=64", "phase.batch_rows=2"),
        *("phase.peak_lr=1e-2", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1"),
    ]
    given = {word.partition("=")[0] for word in overrides}
    words = [word for word in words if word.partition("=")[0] not in given]
    return internlm2("sft", *words, *overrides, folder=folder)


@torch.no_grad()
def mean_loss(folder: Path, name: str) -> float:
    """Loss of the exported model on a file of conversations, one conversation at a time."""
    net, encode = (
        load_released(folder / "run" / "model"),
        ChatEncoder(TrainedTokenizer(folder / "base" / "tokenizer.json")),
    )
    total, tokens = 0.0, 0
    for line in (folder / name).read_text().splitlines():
        chat = encode(json.loads(line)["messages"])
        ids, mask = torch.tensor(chat.ids), torch.tensor(chat.loss_mask)
        logprobs = net(ids[None, :-1])[0].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        total, tokens = total - float(logprobs[mask[1:]].sum()), tokens + int(mask[1:].sum())
    return total / tokens


@pytest.mark.slow
def test_one_pass_with_losses_by_domain_and_answers(folder: Path, tokenizer_file: Path) -> None:
    words = ("validation.en=en.jsonl", "validation.zh=[zh.jsonl]", "validate_every=5", "callbacks=samples")
    done = sft(folder, "output=run", *words)
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "run" / "training.json").read_text())
    # 24 conversations of 31 tokens, two in each row of 64, two rows a batch.
    assert record["steps"] == 6
    for name in ("en", "zh"):
        assert record["figures"][f"valid/{name}"] == pytest.approx(mean_loss(folder, f"{name}.jsonl"), abs=1e-4)
    with (folder / "run" / "logs" / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["valid/zh"]] == [4, 5]  # steps 5 and 6, counted from 0
    answers = [json.loads(line) for line in (folder / "run" / "samples.jsonl").read_text().splitlines()]
    assert [(line["step"], line["name"]) for line in answers] == [(6, n) for n in ("greeting", "greeting_zh", "sum")]
    assert (folder / "run" / "model" / "tokenizer.json").read_text() == tokenizer_file.read_text()


@pytest.mark.slow
def test_a_folder_in_llamas_layout_is_fine_tuned_as_one_in_the_released(folder: Path) -> None:
    for name in ("base", "llama-chat"):
        done = sft(
            folder, f"init_from={name}", f"output=of-{name}", "phase.steps=2", "phase.warmup_steps=0", "logger=none"
        )
        assert done.returncode == 0, done.stderr
    one, other = (load_file(folder / f"of-{name}" / "model" / "model.safetensors") for name in ("base", "llama-chat"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["conversations=asked.jsonl"], "conversations of asked.jsonl none is left"),
        (["validation.en=asked.jsonl"], "conversations of asked.jsonl none is left"),
        (["conversations=null.jsonl"], "null.jsonl, line 2: turn 2: content=None must be a text."),
        (["tokenizer.path=other.json"], "The tokenizer is not that of base: id "),
        (
            ["init_from=llama"],
            "llama/tokenizer.json lacks <|im_start|>, <|im_end|> of the chat format. The model can continue plain text. "
            "`internlm2 convert from=llama to=NEW format=released chat_names=true` adds them",
        ),
        (["phase.context=65"], "context=65 must be at most 64, the trained length of base"),
    ],
    ids=["silent", "silent validation", "null", "tokenizer", "no chat", "too long"],
)
def test_mistakes_end_in_one_sentence(folder: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    done = sft(folder, f"output={tmp_path}", *words)
    assert done.returncode != 0
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "model").exists()
