"""Somebody's Llama is converted, fine-tuned on chats and exported again. Each owner's library says the same."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.command import internlm2

pytestmark = pytest.mark.slow

STARTED, TOKENS = "The sea ", 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``llama``: a tied head, and a vocabulary that knows no chat."""
    folder = tmp_path_factory.mktemp("hand-over")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|finish|>", unk_token="<|unknown|>"
    )
    fast.save_pretrained(folder / "llama")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, initializer_range=0.4,
        bos_token_id=fast.bos_token_id, eos_token_id=fast.eos_token_id, pad_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "llama")
    chats = [
        {"messages": [{"role": "user", "content": w}, {"role": "assistant", "content": w * 2}]} for w in "abcdefgh"
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    return folder


def run(folder: Path, *words: str) -> str:
    done = internlm2(*words, folder=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.removesuffix("\n")


def of_transformers(model: Path, ids: list[int]) -> list[int]:
    """Greedy tokens that Transformers adds."""
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    found = net.generate(torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
    return [int(id_) for id_ in found[0, len(ids) :]]


def test_each_owner_continues_alike(folder: Path) -> None:
    run(folder, "convert", "from=llama", "to=base", "format=released", "chat_names=true", "output=convert")
    greedy = ("temperature=0", f"sampling.max_new_tokens={TOKENS}")
    tokenizer = AutoTokenizer.from_pretrained(folder / "llama")
    ids = tokenizer.encode(STARTED, add_special_tokens=False)
    expected = tokenizer.decode(of_transformers(folder / "llama", ids), skip_special_tokens=True)
    assert expected
    assert run(folder, "generate", "checkpoint=base", f"prompt={STARTED}", "is_chat=false", *greedy) == expected

    size = ("phase.context=64", "phase.batch_rows=2", "phase.steps=8", "phase.warmup_steps=1", "phase.peak_lr=1e-2")
    chats = ("init_from=base", "conversations=chats.jsonl", "logger=none", "trainer.accelerator=cpu")
    run(folder, "sft", *chats, *size, "output=sft")
    run(folder, "convert", "from=sft/model", "to=out", "format=llama", "output=convert")
    tokenizer = AutoTokenizer.from_pretrained(folder / "out")
    asked = [{"role": "user", "content": "c"}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"]
    expected = tokenizer.decode(of_transformers(folder / "out", list(prompt)), skip_special_tokens=True)
    assert expected
    for model in ("sft/model", "out"):
        assert run(folder, "generate", f"checkpoint={model}", "prompt=c", *greedy) == expected
    assert "equal ids" in run(folder, "verify_export", "checkpoint=out")
