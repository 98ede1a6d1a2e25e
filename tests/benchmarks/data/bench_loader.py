"""First batch, speed and waste of the loader on an index of a billion tokens, beside the fastest training step.

    OMP_NUM_THREADS=1 python tests/benchmarks/data/bench_loader.py [--tokens 1000000000] [--json FILE]

The index is made up: lengths of documents are log-normal (median 350 tokens, mean 640), as those of web pages about are, and
the file of tokens is a hole of zeros. So lengths, order, packing and reading are real, and the disk is not. Conversations
have a median of 300 tokens, a tenth of them more than 1,500. The training step is that of the miniature's model, forward,
backward and AdamW, on the same core. Seconds are of the CPU. First batches are those of a new process that has read nothing
yet, imports left out.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import ModelSize
from internlm2_data.loading import PackedBatches, TokenSource
from internlm2_data.loading.order import shuffled
from internlm2_data.loading.packing import packed

CONTEXTS = (4096, 32768)
TINY = ModelSize(layers=4, dim=128, num_kv_heads=2, q_per_kv=2, head_dim=32, ffn_dim=352, vocab_size=2048)


def lengths_of(tokens: int, median_tokens: int, sigma: float, most: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    count = int(tokens / (median_tokens * np.exp(sigma**2 / 2)))
    return np.clip(rng.lognormal(np.log(median_tokens), sigma, count).astype(np.int64), 1, most)


def write_index(folder: Path, tokens: int) -> Path:
    lengths = lengths_of(tokens, 350, 1.1, 1 << 20)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    card = {"dtype": "uint32", "documents": len(lengths), "tokens": int(offsets[-1]), "vocabulary": 92544}
    np.save(folder / "en-web.offsets.npy", offsets)
    with (folder / "en-web.bin").open("wb") as file:
        file.truncate(4 * card["tokens"])
    (folder / "en-web.json").write_text(json.dumps(card))
    return folder / "en-web"


def in_new_process(work: Callable[[], float]) -> float:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(work)


class FirstBatch:
    """Opens the index and reads one batch. Pickles."""

    def __init__(self, path: Path, context: int, packing: str) -> None:
        self.path, self.context, self.packing = path, context, packing

    def __call__(self) -> float:
        start = time.process_time()
        next(iter(batches(self.path, self.context, self.packing).loader()))
        return time.process_time() - start


def batches(path: Path, context: int, packing: str) -> PackedBatches:
    return PackedBatches({"en-web": path}, context, 131_072 // context, seed=1, packing=packing)


def loaded_per_s(path: Path, context: int, packing: str, rounds: int = 20) -> float:
    reader = iter(batches(path, context, packing).loader())
    next(reader)
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        batch = next(reader)
        seconds.append(time.process_time() - start)
    return batch["input_ids"].numel() / median(seconds)


def trained_per_s(rows: int = 16, context: int = 512, rounds: int = 7) -> float:
    net = LanguageModel(TINY)
    net.init_weights(torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(TINY.vocab_size, (rows, context))
    positions = torch.arange(context).expand(rows, -1)
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        optimizer.zero_grad()
        (net(ids, positions, labels_BT=ids).cross_entropy / ids.numel()).backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    return ids.numel() / median(seconds)


def waste(lengths: np.ndarray, context: int) -> float:
    """Share of padding, in percent. What is longer than a row is cut into rows and a remainder."""
    pieces = np.concatenate([np.full((lengths // context).sum(), context), lengths % context])
    pieces = pieces[pieces > 0]
    rows = packed(pieces, context, shuffled(len(pieces), 1)).rows
    return round(100 * (1 - pieces.sum() / (rows * context)), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    trained = trained_per_s()
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        path = write_index(Path(name), given.tokens)
        source = TokenSource(path)
        print(f"{len(source):,} documents, {source.num_tokens:,} tokens")
        packed(np.array([1, 2]), 2, np.array([0, 1]))  # compiled once, cached on disk
        for packing in ("cut", "best_fit"):
            for context in CONTEXTS:
                first = in_new_process(FirstBatch(path, context, packing))
                speed = loaded_per_s(path, context, packing)
                found[f"{packing}, {context:,}"] = {
                    "first batch, s": round(first, 2),
                    "of a step": round(speed / trained, 1),
                }
                print(f"{packing}, {context:,}", found[f"{packing}, {context:,}"], flush=True)
        chats = lengths_of(20_000_000, 300, 1.25, 4096)
        found["waste in %"] = {
            "documents, 4,096": waste(source.lengths, 4096),
            "documents, 32,768": waste(source.lengths, 32768),
            "conversations, 4,096": waste(chats, 4096),
            "conversations, 32,768": waste(chats, 32768),
        }
    print(f"training: {trained:,.0f} tokens a CPU second")
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
