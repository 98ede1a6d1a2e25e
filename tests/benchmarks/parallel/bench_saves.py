"""How long training stands still for a checkpoint: blocking, in the background, and torch's ``dcp.async_save``.

    OMP_NUM_THREADS=1 python tests/benchmarks/parallel/bench_saves.py [--rounds 5] [--ranks 1] [--folder FOLDER]

One run of an LM under FSDP. Its saves take turns, and the next one comes when the one before is on the disk and two
steps were taken undisturbed. Of each save: seconds of the call, of the clock and of the training thread's CPU, which a
busy machine does not change; what the next optimizer step waits for copies (call and wait are the stall); and by how
much all steps until it is on the disk took longer than undisturbed ones. The first round is not counted: in it
memory is allocated. ``dcp.async_save`` gets the same tensors in its default mode (a thread).
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.optim import Constant
from internlm2_parallel import CheckpointPolicy, Layout, MeshStrategy
from internlm2_parallel.checkpoint.state import optimizers_of, weights_of
from internlm2_parallel.testing import quiet_trainer, run_ranks
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.utils.data import DataLoader

SIZE = ModelSize(layers=6, dim=512, num_kv_heads=4, q_per_kv=2, head_dim=64, ffn_dim=1376, vocab_size=16384)
MODES = ("blocking", "asynchronous", "dcp.async_save")
CLEAN = 2


def make() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(1))
    return net


class Clock(L.Callback):
    """Saves in turns, and takes the time of every step."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder, self.turns = folder, [mode for _ in range(rounds + 1) for mode in MODES]
        self.records: list[dict[str, Any]] = []
        self.clean: list[float] = []
        self.busy: Callable[[], bool] = lambda: False
        self.waited, self.quiet, self.group, self.since = 0.0, 0, None, 0.0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.group = dist.new_group(backend="gloo")
        staging = trainer.strategy.store.staging
        settle = staging.settle

        def timed() -> None:
            start = time.perf_counter()
            settle()
            self.waited += time.perf_counter() - start

        staging.settle = timed

    def save(self, mode: str, trainer: L.Trainer, module: L.LightningModule) -> None:
        path, store = self.folder / f"{len(self.records)}.ckpt", trainer.strategy.store
        if mode == "dcp.async_save":
            state = {"weights": weights_of(module), **optimizers_of(module, trainer.optimizers)}
            pending = async_save(state, checkpoint_id=path, process_group=self.group)
            self.busy = lambda: not pending.done()
            return
        store.policy = CheckpointPolicy(asynchronous=mode == "asynchronous")
        trainer.save_checkpoint(path)
        self.busy = lambda: store.background.is_busy

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        step = time.perf_counter() - self.since
        if self.records and (now := self.records[-1])["writing"]:
            now["steps"].append(step)
            now["wait"] = self.waited
            now["writing"] = trainer.strategy.reduce_boolean_decision(self.busy(), all=False)
            self.quiet = 0
        else:
            self.quiet += 1
            self.clean += [step] if trainer.global_step > 3 else []
        if trainer.global_step > 3 and self.quiet >= CLEAN:
            if len(self.records) == len(self.turns):
                trainer.should_stop = True
                return
            for old in self.folder.iterdir():
                shutil.rmtree(old)
            mode, self.waited = self.turns[len(self.records)], 0.0
            dist.barrier()
            start, start_cpu = time.perf_counter(), time.thread_time()
            self.save(mode, trainer, module)
            call, cpu = time.perf_counter() - start, time.thread_time() - start_cpu
            self.waited, writing = 0.0, mode != "blocking"
            self.records.append({"mode": mode, "call": call, "cpu": cpu, "wait": 0.0, "steps": [], "writing": writing})
            self.quiet = 0
        self.since = time.perf_counter()


def rank(folder: Path, rounds: int, ranks: int) -> Any:
    ids = torch.randint(SIZE.vocab_size, (1, 64), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids, "labels": ids.roll(-1, 1), "position_ids": torch.arange(64).expand(1, 64)}
    clock = Clock(folder, rounds)
    strategy = MeshStrategy(Layout(shard=ranks))
    module = LM(make, partial(torch.optim.AdamW, lr=1e-5, fused=True), Constant())
    quiet_trainer(strategy, ranks, callbacks=[clock]).fit(module, DataLoader([batch] * 4000, batch_size=None))
    weights = sum(weight.numel() for weight in module.net.parameters())
    return clock.records[len(MODES) :], statistics.median(clock.clean), weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--folder", help="on the disk that is measured. None takes a temporary one")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = run_ranks(rank, options.ranks, Path(folder), options.rounds, options.ranks, join=False, deadline_s=3600)
    records, clean, weights = found[0]
    figures: dict[str, float] = {}
    runs: dict[str, list[Any]] = {}
    blocking = statistics.median(record["call"] for record in records if record["mode"] == "blocking")
    blocking_cpu = statistics.median(record["cpu"] for record in records if record["mode"] == "blocking")
    for mode in MODES:
        mine = [record for record in records if record["mode"] == mode]
        stalls = [record["call"] + record["wait"] for record in mine]
        slower = [sum(record["steps"]) - clean * len(record["steps"]) for record in mine]
        runs[mode] = [
            [round(record["call"], 3), round(record["cpu"], 3), round(record["wait"], 3), round(more, 3)]
            for record, more in zip(mine, slower, strict=True)
        ]
        cpu = 100 * statistics.median(record["cpu"] for record in mine) / blocking_cpu
        figures[f"{mode}, CPU of the call, % of a blocking save"] = round(cpu, 1)
        figures[f"{mode}, stall, % of a blocking save"] = round(100 * statistics.median(stalls) / blocking, 1)
        figures[f"{mode}, slower steps, % of a blocking save"] = round(100 * statistics.median(slower) / blocking, 1)
    print(
        json.dumps(
            {
                "what": "What training loses by a checkpoint, over a blocking save",
                "date": date.today().isoformat(),
                "versions": {
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "lightning": L.__version__,
                },
                "machine": f"{os.cpu_count()} CPU cores, no GPU, {options.ranks} rank(s) of one thread",
                "weights": weights,
                "seconds of a blocking save": round(blocking, 3),
                "seconds of an undisturbed step": round(clean, 3),
                "figures": figures,
                "runs: call, CPU of the call, wait of a step, slower steps (s)": runs,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
