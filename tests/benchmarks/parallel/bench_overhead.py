"""What MeshStrategy costs at degree 1, against plain Lightning (fp32, one CPU process each).

    OMP_NUM_THREADS=1 python tests/benchmarks/parallel/bench_overhead.py [--steps 30] [--rounds 5]

The same LM, data and Trainer; only the strategy differs. Each run is a process of its own, and runs take turns. A step is
timed from one batch's end to the next, Lightning's loop included; the first five of a run are not counted.
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
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.optim import Constant
from internlm2_parallel import Layout, MeshStrategy
from internlm2_parallel.testing import quiet_trainer, run_ranks
from torch.utils.data import DataLoader

SIZE = ModelSize(layers=4, dim=256, num_kv_heads=4, q_per_kv=2, head_dim=32, ffn_dim=688, vocab_size=4096)
ROWS, TOKENS, WARM_UP = 2, 256, 5


class Clock(L.Callback):
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.since = time.process_time()

    def on_train_batch_end(self, *_: Any) -> None:
        now = time.process_time()
        self.seconds.append(now - self.since)
        self.since = now


def make() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(1))
    return net


def step_s(strategy: Any, steps: int) -> float:
    """Median CPU seconds of a step."""
    ids = torch.randint(SIZE.vocab_size, (ROWS, TOKENS), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids, "labels": ids.roll(-1, 1), "position_ids": torch.arange(TOKENS).expand(ROWS, TOKENS)}
    module = LM(make, partial(torch.optim.AdamW, lr=1e-4, fused=True), Constant())
    clock = Clock()
    loader = DataLoader([batch] * steps, batch_size=None)
    quiet_trainer(strategy, 1, callbacks=[clock]).fit(module, loader)
    return statistics.median(clock.seconds[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    cases = {"plain Lightning": lambda: "auto", "MeshStrategy, degree 1": lambda: MeshStrategy(Layout())}
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, strategy in cases.items():
            (seconds,) = run_ranks(lambda make=strategy: step_s(make(), options.steps), 1, join=False)
            found[name].append(seconds)
    ms = {name: 1e3 * statistics.median(seconds) for name, seconds in found.items()}
    plain, mesh = ms.values()
    print(
        json.dumps(
            {
                "date": date.today().isoformat(),
                "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
                "torch": torch.__version__,
                "lightning": L.__version__,
                "ms_per_step": {name: round(value, 2) for name, value in ms.items()},
                "overhead_percent": round(100 * (mesh / plain - 1), 2),
                "runs": {name: [round(1e3 * s, 1) for s in seconds] for name, seconds in found.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
