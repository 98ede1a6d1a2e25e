"""How many logits are held at once (``model.max_logits``): memory and speed of a step over one long row.

    OMP_NUM_THREADS=1 python tests/benchmarks/core/bench_logits.py [--tokens 8192] [--vocabulary 32768] [--rounds 5]

Forward, loss and backward of two blocks of width 256, fp32, each in a process of its own. Memory is what a process takes
beyond its imports and weights. Transformers holds all logits. The first of the limits is the default.
"""

import argparse
import resource
import statistics
import time
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import torch
from peers import SHAPES, ours, ratio, show, transformers_llama

NAMES = {"2**22, the default": 2**22, "2**20": 2**20, "2**24": 2**24, "2**27": 2**27, "transformers": None}


def step(name: str, tokens: int, vocabulary: int, answers: Any) -> None:
    """CPU seconds of the second of two steps, and bytes of peak memory."""
    net = ours(replace(SHAPES["small"][0], layers=2, vocab_size=vocabulary, max_positions=tokens))
    ids = torch.randint(vocabulary, (1, tokens), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(tokens)[None]
    peer = None
    if NAMES[name] is None:
        peer = transformers_llama(net)
    else:
        net.max_logits = NAMES[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        start = time.process_time()
        if peer is not None:
            loss = peer(input_ids=ids, labels=ids, use_cache=False).loss
        else:
            loss = net(ids, positions, labels_BT=ids.roll(-1, 1)).cross_entropy / tokens
        loss.backward()
        seconds = time.process_time() - start
    answers.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))


def in_process(name: str, tokens: int, vocabulary: int) -> tuple[float, int]:
    context = get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=step, args=(name, tokens, vocabulary, answers))
    process.start()
    process.join()
    found: tuple[float, int] = answers.get()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--vocabulary", type=int, default=32_768)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in NAMES}
    for _ in range(options.rounds):
        for name in NAMES:
            found[name].append(in_process(name, options.tokens, options.vocabulary))
    seconds = {name: [taken[0] for taken in each] for name, each in found.items()}
    memory = {name: statistics.median(taken[1] for taken in each) for name, each in found.items()}
    show(
        {
            "tokens": options.tokens,
            "vocabulary": options.vocabulary,
            "speed_over_transformers": {name: ratio(seconds["transformers"], each) for name, each in seconds.items()},
            "memory_over_transformers": {
                name: round(each / memory["transformers"], 2) for name, each in memory.items()
            },
            "memory_mb": {name: round(each / 1024) for name, each in memory.items()},
        },
        "transformers",
    )


if __name__ == "__main__":
    main()
