"""A training step (fp32, CPU) against Transformers' Llama and litgpt, eager and compiled.

    pip install psutil "jsonargparse[signatures]"; pip install --no-deps litgpt==0.5.13
    OMP_NUM_THREADS=1 python tests/benchmarks/core/bench_training.py [--shape small|large] [--rounds 15]

litgpt asks for an older huggingface-hub than Transformers does, hence --no-deps. Where it is not installed it is left out.

Every step: forward, loss, backward, clipping to norm 1, fused AdamW. litgpt has two variants, plain and chunked
cross-entropy, as its own trainer uses them. `LM in Lightning` is our step as users run it, inside the Trainer.
"Of sgemm" counts causal attention as half and is relative to an fp32 matrix product measured in the same rounds.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from internlm2_core import LM
from internlm2_core.nn.compiled import compile_network
from internlm2_core.optim import Constant
from internlm2_core.sizes import ModelSize
from lightning.pytorch.loggers import CSVLogger
from peers import SHAPES, litgpt_gpt, ours, ratio, sgemm_gflops, show, transformers_llama
from torch import Tensor, nn
from torch.utils.data import DataLoader

IN_LIGHTNING = "ours: LM in Lightning"
Batch = dict[str, Tensor]


def plain_step(net: nn.Module, loss_of: Callable[[Batch], Tensor], batch: Batch) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(batch).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return step


def our_loss(net: nn.Module, batch: Batch) -> Tensor:
    losses = net(batch["input_ids"], batch["position_ids"], labels_BT=batch["labels"])
    return losses.cross_entropy / batch["labels"].numel()


def transformers_loss(net: nn.Module, batch: Batch) -> Tensor:
    return net(input_ids=batch["input_ids"], labels=batch["input_ids"], use_cache=False).loss


def litgpt_loss(net: nn.Module, batch: Batch, chunk: int) -> Tensor:
    from litgpt.utils import chunked_cross_entropy

    logits = net(batch["input_ids"], **({"lm_head_chunk_size": chunk} if chunk else {}))
    if chunk:
        return chunked_cross_entropy(logits, batch["labels"], chunk_size=chunk)
    return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())


class TakeTurns(L.Callback):
    """Lightning drives; between its steps all other cases run once. The first round is not counted."""

    def __init__(self, others: dict[str, Callable[[], None]]) -> None:
        self.others = others
        self.seconds: dict[str, list[float]] = {name: [] for name in (IN_LIGHTNING, *others)}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.since = time.process_time()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seconds[IN_LIGHTNING].append(time.process_time() - self.since)
        for name, case in self.others.items():
            start = time.process_time()
            case()
            self.seconds[name].append(time.process_time() - start)
        self.since = time.process_time()

    def counted(self) -> dict[str, list[float]]:
        return {name: seconds[1:] for name, seconds in self.seconds.items()}


def run(size: ModelSize, batch: Batch, others: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of the steps of each case."""
    module = LM(lambda: ours(size), partial(torch.optim.AdamW, lr=1e-4, fused=True), Constant())
    turns = TakeTurns(others)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=rounds + 1, logger=CSVLogger(tempfile.mkdtemp()), log_every_n_steps=10,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[turns],
    )  # fmt: skip
    trainer.fit(module, DataLoader([batch] * (rounds + 1), batch_size=None))
    return turns.counted()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    size, rows, tokens = SHAPES[options.shape]
    ids = torch.randint(size.vocab_size, (rows, tokens + 1), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(tokens).expand(rows, tokens)
    batch = {"input_ids": ids[:, :-1].contiguous(), "labels": ids[:, 1:].contiguous(), "position_ids": positions}

    eager, blocks, compiled, packaged = ours(size), ours(size), ours(size), ours(size)
    compile_network(blocks, "blocks")
    hf, hf_compiled = transformers_llama(packaged), transformers_llama(packaged)
    for net in (compiled, hf_compiled):
        net.compile()
    speeds: list[float] = []
    cases = {
        "ours": plain_step(eager, partial(our_loss, eager), batch),
        "ours, compile=blocks": plain_step(blocks, partial(our_loss, blocks), batch),
        "ours, compile=net": plain_step(compiled, partial(our_loss, compiled), batch),
        "transformers": plain_step(hf, partial(transformers_loss, hf), batch),
        "transformers compiled": plain_step(hf_compiled, partial(transformers_loss, hf_compiled), batch),
        "sgemm": lambda: speeds.append(sgemm_gflops()),
    }
    for name, chunk in {"litgpt": 0, "litgpt chunked": 128}.items() if find_spec("litgpt") else ():
        lit = litgpt_gpt(size)
        cases[name] = plain_step(lit, partial(litgpt_loss, lit, chunk=chunk), batch)
    seconds = run(size, batch, cases, options.rounds)
    del seconds["sgemm"]
    peak = sorted(speeds)[len(speeds) // 2]
    flops = 1e-9 * size.flops_per_token([tokens]) * rows * tokens
    show(
        {
            "shape": options.shape,
            "tokens_per_cpu_second": {name: round(rows * tokens / median(s)) for name, s in seconds.items()},
            "speed_over_transformers": {name: ratio(seconds["transformers"], s) for name, s in seconds.items()},
            "of_sgemm": {name: round(flops / median(s) / peak, 3) for name, s in seconds.items()},
            "sgemm_gflops": round(peak, 1),
        },
        "lightning", "transformers", *(["litgpt"] if find_spec("litgpt") else []),
    )  # fmt: skip


if __name__ == "__main__":
    main()
