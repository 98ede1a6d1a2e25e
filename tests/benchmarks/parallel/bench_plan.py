"""The cost model of `internlm2 plan` against measured steps of CPU ranks (gloo, fp32).

    OMP_NUM_THREADS=1 python tests/benchmarks/parallel/bench_plan.py [--steps 8] [--rounds 3]

Machine constants are measured first, on as many ranks as the layouts have: an fp32 matrix product, attention, a sum of
two tensors as large as a feed-forward's, and an all-gather. Then every layout trains the same LM, and its median step (wall time, slowest rank, best round) is compared with
the prediction: ratio of each, and Spearman's rank correlation over all.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from datetime import date
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.optim import Constant
from internlm2_parallel import MeshStrategy
from internlm2_parallel.search import Workload, time_of
from internlm2_parallel.search.kernels import HALF_SPEED_TOKENS
from internlm2_parallel.search.machine import Machine
from internlm2_parallel.search.plans import Plan
from internlm2_parallel.testing import LAYOUTS, quiet_trainer, run_ranks
from torch.utils.data import DataLoader

SIZE = ModelSize(layers=4, dim=256, num_kv_heads=4, q_per_kv=2, head_dim=32, ffn_dim=688, vocab_size=4096)
ROWS, TOKENS, RANKS, MICRO_ROWS = 8, 256, 2, 2
NAMES = (
    "ddp", "zero1", "zero2", "fsdp", "fsdp recompute", "tensor", "tensor_sequence",
    "context gather", "context ulysses", "context ring", "pipeline 1f1b",
)  # fmt: skip


def fastest(function: Any, times: int = 5) -> float:
    """Best wall time of a call, in seconds."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def constants() -> tuple[float, float, float, float]:
    """TFLOP/s of a matrix product and of attention (causal as half), GB/s of a sum and an all-gather, all ranks at work."""
    a, b = torch.randn(512, 256), torch.randn(256, 688)
    gemm = 2e-12 * 512 * 256 * 688 / fastest(lambda: a @ b, 50)
    q = torch.randn(2, SIZE.num_q_heads, TOKENS, SIZE.head_dim, requires_grad=True)
    attention_s = fastest(lambda: F.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward())
    attention = 6e-12 * 2 * SIZE.num_q_heads * SIZE.head_dim * TOKENS * TOKENS / attention_s
    x = torch.randn(MICRO_ROWS * TOKENS, SIZE.ffn_dim)
    memory = 3e-9 * 4 * x.numel() / fastest(lambda: x + x, 50)
    part, whole = torch.randn(1 << 20), torch.empty(RANKS << 20)
    dist.barrier()
    gather_s = fastest(lambda: dist.all_gather_into_tensor(whole, part))
    return gemm, attention, memory, 4e-9 * (1 << 20) * (RANKS - 1) / gather_s


class Clock(L.Callback):
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.since = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        self.since = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds.append(time.perf_counter() - self.since)


def make() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(1))
    return net


def step_s(name: str, steps: int) -> float:
    """Median seconds of a step on this rank."""
    case = LAYOUTS[name]
    strategy = MeshStrategy(case.layout, case.treatment, shape=SIZE, tokens=TOKENS)
    rows = ROWS // case.layout.data_parallel_size
    ids = torch.randint(SIZE.vocab_size, (rows, TOKENS), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids, "labels": ids.roll(-1, 1), "position_ids": torch.arange(TOKENS).expand(rows, TOKENS)}
    micro_rows = 0 if case.layout.pipeline > 1 else MICRO_ROWS
    optimizer, recompute = partial(torch.optim.AdamW, lr=1e-4), "selective" if case.keeps == "matmuls" else "none"
    module = LM(make, optimizer, Constant(), micro_batch_rows=micro_rows, recompute=recompute)
    clock = Clock()
    loader = DataLoader([batch] * steps, batch_size=None)
    quiet_trainer(strategy, RANKS, callbacks=[clock]).fit(module, loader)
    return statistics.median(clock.seconds[2:])


def predicted_s(name: str, machine: Machine) -> float:
    case = LAYOUTS[name]
    pieces = case.treatment.pipeline.micro_batches
    if case.layout.pipeline == 1:
        pieces = ROWS // case.layout.data_parallel_size // MICRO_ROWS
    how = case.treatment
    plan = Plan(case.layout, how.sharding, name, case.keeps, pieces, MICRO_ROWS, how.context)
    return time_of(plan, Workload(SIZE, TOKENS, ROWS * TOKENS, value_bytes=4), machine).step_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    gemm, attention, memory, gb_s = (min(values) for values in zip(*run_ranks(constants, RANKS), strict=True))
    whole_speed = attention * (TOKENS + HALF_SPEED_TOKENS) / TOKENS
    links = {"network_share": 1.0, "start_us": 100.0, "node_hop_us": 100.0, "network_hop_us": 100.0}
    machine = Machine(
        "this",
        "CPU",
        gemm,
        gemm,
        (whole_speed, whole_speed),
        1,
        24.0,
        memory,
        RANKS,
        gb_s,
        gb_s,
        sustained=1.0,
        **links,
    )
    measured: dict[str, float] = {}
    for _ in range(options.rounds):
        for name in NAMES:
            slowest = max(run_ranks(lambda name=name: step_s(name, options.steps), RANKS, join=False, deadline_s=300))
            measured[name] = min(slowest, measured.get(name, float("inf")))
    predicted = {name: predicted_s(name, machine) for name in NAMES}
    ranks = [np.argsort(np.argsort([times[name] for name in NAMES])) for times in (measured, predicted)]
    print(
        json.dumps(
            {
                "date": date.today().isoformat(),
                "machine": f"{platform.machine()}, {RANKS} ranks of {torch.get_num_threads()} thread(s)",
                "torch": torch.__version__,
                "constants": {
                    "gemm_gflops": gemm * 1e3,
                    "attention_gflops": attention * 1e3,
                    "memory_gb_s": memory,
                    "all_gather_gb_s": gb_s,
                },
                "ms": {name: [round(1e3 * t[name], 1) for t in (measured, predicted)] for name in NAMES},
                "predicted_over_measured": {name: round(predicted[name] / measured[name], 2) for name in NAMES},
                "rank_correlation": round(float(np.corrcoef(*ranks)[0, 1]), 3),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
