"""Conversion of a model folder against copying its files: time and peak memory.

    OMP_NUM_THREADS=1 python tests/benchmarks/core/bench_convert.py [--gigabytes 2] [--shards 4] [--rounds 3]

A random model in bfloat16 is written to a temporary folder. Each round copies it, converts it to Llama's layout and
back, each in a process of its own. Memory is what a process takes beyond its imports, pages of mapped files included.
"""

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import torch
from internlm2_core import ModelSize
from internlm2_core.checkpoint import save_released
from internlm2_core.checkpoint.released import tensor_shapes
from internlm2_core.jobs import convert
from internlm2_core.text.tokenizer import SPECIAL_TOKENS
from peers import show
from tokenizers import Tokenizer, models

DIM, FFN, VOCABULARY = 2048, 8192, 32_768


def size_of(gigabytes: float) -> ModelSize:
    block = 2 * (4096 * DIM + DIM * DIM + 3 * DIM * FFN)  # bytes, near enough
    layers = max(1, round((gigabytes * 2**30 - 4 * VOCABULARY * DIM) / block))
    return ModelSize(layers, DIM, num_kv_heads=8, q_per_kv=2, ffn_dim=FFN, vocab_size=VOCABULARY)


def write_random(folder: Path, size: ModelSize, shards: int) -> None:
    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        for name, shape in tensor_shapes(size).items():
            yield name, torch.randn(shape, dtype=torch.bfloat16)

    tokenizer = Tokenizer(models.BPE(vocab={}, merges=[]))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(folder.parent / "tokenizer.json"))
    save_released(
        folder, size, tensors(), folder.parent / "tokenizer.json", shard_bytes=2 * size.num_params() // shards
    )


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(work: Callable[[], object], answers: object) -> None:
    before, start = peak(), time.perf_counter()
    work()
    answers.put((time.perf_counter() - start, time.process_time(), peak() - before))  # type: ignore[attr-defined]


def in_process(work: Callable[..., object], *arguments: object) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and bytes of peak memory."""
    context = get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=timed, args=(lambda: work(*arguments), answers))
    process.start()
    process.join()
    found: tuple[float, float, int] = answers.get()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    size = size_of(options.gigabytes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_process(write_random, folder / "model", size, options.shards)
        largest = max(file.stat().st_size for file in (folder / "model").glob("*.safetensors"))
        ran: dict[str, list[tuple[float, float, int]]] = {"copy": [], "to llama": [], "to released": []}
        for _ in range(options.rounds):
            for left in ("copy", "llama", "back"):
                shutil.rmtree(folder / left, ignore_errors=True)
            ran["copy"].append(in_process(shutil.copytree, folder / "model", folder / "copy"))
            paths = [str(folder / part) for part in ("model", "llama", "back")]
            ran["to llama"].append(in_process(convert, paths[0], paths[1], "llama"))
            ran["to released"].append(in_process(convert, paths[1], paths[2], "released"))
        shapes = tensor_shapes(size).values()
    ratios = {
        name: [copied[0] / taken[0] for copied, taken in zip(ran["copy"], ran[name], strict=True)]
        for name in ("to llama", "to released")
    }
    show(
        {
            "gigabytes": round(2 * size.num_params() / 2**30, 2),
            "shards": options.shards,
            "largest_shard_mb": largest >> 20,
            "largest_tensor_mb": 2 * max(shape.numel() for shape in shapes) >> 20,
            "speed_over_copying": {name: round(statistics.median(found), 2) for name, found in ratios.items()},
            "speed_over_copying_of_each_round": {name: [round(r, 2) for r in found] for name, found in ratios.items()},
            "seconds": {name: [round(taken[0], 2) for taken in found] for name, found in ran.items()},
            "peak_memory_mb": {name: max(taken[2] for taken in found) >> 20 for name, found in ran.items()},
        }
    )


if __name__ == "__main__":
    main()
