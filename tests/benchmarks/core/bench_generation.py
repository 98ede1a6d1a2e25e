"""Batched generation (fp32, CPU) against Transformers' generate, greedy and sampling.

    OMP_NUM_THREADS=1 python tests/benchmarks/core/bench_generation.py [--rounds 7]

16 prompts of 64 tokens, 128 new tokens each, the same weights; the greedy text must be identical.
"""

import argparse
import warnings
from statistics import median

import torch
from internlm2_core.generation import LocalEngine, Sampling
from peers import SHAPES, ours, ratio, show, take_turns, transformers_llama

ROWS, PROMPT, NEW = 16, 64, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    net = ours(SHAPES[options.shape][0])
    peer, engine = transformers_llama(net).eval(), LocalEngine(net)
    prompts = torch.randint(2, net.size.vocab_size, (ROWS, PROMPT), generator=torch.Generator().manual_seed(1))
    greedy = Sampling(max_new_tokens=NEW, temperature=0)
    sampled = Sampling(max_new_tokens=NEW, temperature=0.8, top_p=0.9, top_k=50)
    limits = {"max_new_tokens": NEW, "min_new_tokens": NEW, "attention_mask": torch.ones_like(prompts)}
    chosen = {"do_sample": True, "temperature": 0.8, "top_p": 0.9, "top_k": 50}

    answers = [c.ids for c in engine.generate(prompts.tolist(), greedy)]
    same = answers == peer.generate(prompts, do_sample=False, **limits)[:, PROMPT:].tolist()
    seconds = take_turns(
        {
            "ours greedy": lambda: engine.generate(prompts.tolist(), greedy),
            "transformers greedy": lambda: peer.generate(prompts, do_sample=False, **limits),
            "ours sampling": lambda: engine.generate(prompts.tolist(), sampled),
            "transformers sampling": lambda: peer.generate(prompts, **chosen, **limits),
        },
        options.rounds,
    )
    ratios = {how: ratio(seconds[f"transformers {how}"], seconds[f"ours {how}"]) for how in ("greedy", "sampling")}
    show(
        {
            "shape": options.shape,
            "new_tokens_per_cpu_second": {name: round(ROWS * NEW / median(s)) for name, s in seconds.items()},
            "speed_over_transformers": ratios,
            "greedy_text_identical": same,
        },
        "transformers",
    )


if __name__ == "__main__":
    main()
