"""Pairs per second of reward training against TRL's RewardTrainer, on the same tiny Llama and the same pairs.

    pip install trl accelerate
    OMP_NUM_THREADS=1 python tests/benchmarks/align/bench_reward.py

Conversations are 32 to 512 tokens long; half of the tokens of a pair are its prompt. Both train one epoch in fp32 with fused
AdamW, ours in batches of 16,384 tokens that are computed in rows of 4,096; TRL with its defaults (pad to the longest of a batch), and grouped by length. The order of runs is interleaved and
the median of process CPU time is taken. Prints one JSON object.
"""

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
import warnings
from collections import Counter
from datetime import date
from functools import partial
from pathlib import Path

import lightning as L
import torch
from internlm2_align import RewardModel
from internlm2_align.reward.conditions import Unconditional
from internlm2_align.reward.encoded import EncodedPairs
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import from_language_model
from internlm2_align.reward.pairs import PairBatches
from internlm2_align.reward.shared import Group
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import ModelSize
from internlm2_core.text.tokenizer import ByteTokenizer

SIZE = ModelSize(layers=4, dim=256, num_kv_heads=4, q_per_kv=2, ffn_dim=688, vocab_size=4096, head_dim=32)


def make_pairs(count: int, seed: int) -> list[Group]:
    """Random ids; both replies of a pair share a prompt of about half the length."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        lengths = sorted(rng.randint(32, 512) for _ in range(2))
        prompt = [rng.randrange(SIZE.vocab_size) for _ in range(lengths[0] // 2)]
        rng.shuffle(lengths)
        replies = [[rng.randrange(SIZE.vocab_size) for _ in range(length - len(prompt))] for length in lengths]
        pairs.append(Group(prompt, replies))
    return pairs


def ours(pairs: list[Group], share_prompts: bool) -> tuple[float, dict[str, float]]:
    """CPU seconds of one epoch, and how full the batches were."""
    net = LanguageModel(SIZE)
    net.init_weights()
    encoder = ConversationEncoder(ByteTokenizer(), Unconditional(("all",)))
    model = RewardModel(
        lambda: from_language_model(net), encoder, optimizer=partial(torch.optim.AdamW, lr=1e-5, fused=True)
    )
    encoded = EncodedPairs.of(((group, 0, 0.0) for group in pairs), SIZE.vocab_size, share_prompts)
    loader = PairBatches(16_384, share_prompts=share_prompts, row_tokens=4096).loader(encoded)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    fill = loader.fill_rate()
    start = time.process_time()
    trainer.fit(model, loader)
    return time.process_time() - start, {"fill_rate": fill}


def trl(pairs: list[Group], group_by_length: bool) -> tuple[float, dict[str, float]]:
    """CPU seconds of one epoch, and the share of tokens that are not padding."""
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast
    from trl import RewardConfig, RewardTrainer

    vocabulary = Tokenizer(WordLevel({str(i): i for i in range(SIZE.vocab_size)}, unk_token="0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=vocabulary, pad_token="0", eos_token="1", unk_token="0")
    config = LlamaConfig(
        hidden_size=SIZE.dim, intermediate_size=SIZE.ffn_dim, num_hidden_layers=SIZE.layers, head_dim=SIZE.head_dim,
        num_attention_heads=SIZE.num_q_heads, num_key_value_heads=SIZE.num_kv_heads, vocab_size=SIZE.vocab_size,
        num_labels=1, pad_token_id=0,
    )  # fmt: skip
    rows = [{"chosen_ids": [*g.prompt, *g.replies[0]], "rejected_ids": [*g.prompt, *g.replies[1]]} for g in pairs]
    with tempfile.TemporaryDirectory() as folder:
        arguments = RewardConfig(
            folder, per_device_train_batch_size=16, num_train_epochs=1, report_to="none", save_strategy="no",
            logging_strategy="no", use_cpu=True, bf16=False, gradient_checkpointing=False, max_length=None,
            optim="adamw_torch_fused", disable_tqdm=True, learning_rate=1e-5,
            **({"train_sampling_strategy": "group_by_length"} if group_by_length else {}),
        )  # fmt: skip
        trainer = RewardTrainer(
            LlamaForSequenceClassification(config), args=arguments, train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )  # fmt: skip
        start = time.process_time()
        trainer.train()
        return time.process_time() - start, {}


def main() -> None:
    """Run all, interleaved."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    pairs = make_pairs(options.pairs, seed=1)
    runs = {
        "ours": partial(ours, share_prompts=True),
        "ours, prompts computed twice": partial(ours, share_prompts=False),
        "TRL": partial(trl, group_by_length=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    notes: dict[str, dict[str, float]] = {}
    for _ in range(options.rounds):
        for name, run in runs.items():
            spent, notes[name] = run(pairs)
            seconds[name].append(spent)
    import trl as peer

    speeds = {name: options.pairs / statistics.median(found) for name, found in seconds.items()}
    report = {
        "date": date.today().isoformat(),
        "hardware": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
        "trl": peer.__version__,
        "pairs": options.pairs,
        "tokens": sum(2 * len(g.prompt) + sum(map(len, g.replies)) for g in pairs),
        "pairs_per_cpu_second": {name: round(speed, 2) for name, speed in speeds.items()},
        "ratio_to_trl": {name: round(speed / speeds["TRL"], 2) for name, speed in speeds.items()},
        "notes": notes,
        "counts": dict(Counter(len(found) for found in seconds.values())),
    }
    Path("reward-speed.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
