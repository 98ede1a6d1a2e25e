"""Nodes join and are lost: agents of torchrun on the loopback, each a node of one rank.

Agents are forked with the imports done. They are what `torchrun` runs (`launch_agent`), told the same options.
"""

import json
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import lightning as L
import pytest
import torch
from internlm2_parallel import Layout, MeshStrategy
from internlm2_parallel.attempts import meet
from internlm2_parallel.checkpoint import completed
from internlm2_parallel.health import Preemption
from internlm2_parallel.health.nodes import attempt
from internlm2_parallel.testing import TinyLlama, TinyLM, quiet_trainer
from internlm2_parallel.testing.ranks import free_port
from torch.distributed import HashStore
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

QUICK = {"last_call_timeout": 1, "keep_alive_interval": 1, "keep_alive_max_attempt": 6}


class Scene(L.Callback):
    """Saves each step. Alone, the first node waits after step 2 until another has joined, which dies after step 4."""

    def __init__(self, folder: Path, preemption: Preemption) -> None:
        self.folder, self.preemption = folder, preemption

    def on_train_batch_end(self, trainer, module, *args):
        step, nodes, joins = trainer.global_step, trainer.num_nodes, self.folder / "joins"
        if trainer.is_global_zero:
            entry = {"step": step, "nodes": nodes, "loss": module.losses[-1], "norm": module.norms[-1]}
            with (self.folder / "steps.jsonl").open("a") as file:
                file.write(json.dumps({**entry, "attempt": attempt()}) + "\n")
        if nodes == 2 and step == 4 and (self.folder / "second").read_text() == str(os.getpgrp()):
            while '"step": 4' not in (self.folder / "steps.jsonl").read_text():
                time.sleep(0.05)
            os.killpg(os.getpgrp(), signal.SIGKILL)
        trainer.save_checkpoint(self.folder / "last.ckpt")
        if nodes == 1 and step == 2:
            joins.touch()
            while self.preemption.asked_by is None:  # torchrun ends the ranks since a node waits
                time.sleep(0.05)


def job(folder: Path) -> None:
    torch.set_num_threads(1)
    last = folder / "last.ckpt"
    preemption = Preemption(folder)
    callbacks, nodes = [Scene(folder, preemption), preemption], int(os.environ["GROUP_WORLD_SIZE"])
    # A resumed run starts from other weights, so that whatever is not restored shows.
    module = TinyLM(net=lambda: TinyLlama(seed=7 if completed(last) else 0))
    trainer = quiet_trainer(MeshStrategy(Layout(shard=-1)), 1, num_nodes=nodes, callbacks=callbacks)
    trainer.fit(module, ckpt_path=last if completed(last) else None)


def agent(folder: Path, name: str, port: int, address: str) -> int:
    """Fork an agent, in a process group of its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    try:
        os.setsid()
        output = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        (folder / name).write_text(str(os.getpgrp()))
        # Said, since an agent that finds the port taken spends seconds on the names in a trace of calls.
        rendezvous = {**QUICK, "is_host": name == "first"}
        config = LaunchConfig(
            1, 2, 1, run_id="elastic", rdzv_backend="c10d", rdzv_endpoint=f"127.0.0.1:{port}", rdzv_configs=rendezvous,
            max_restarts=1, start_method="fork", local_addr=address,
        )  # fmt: skip
        elastic_launch(config, job)(folder)
        os._exit(0)
    finally:
        os._exit(1)


def until(condition, said: Path, deadline_s: float = 600.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, said.read_text()[-6000:]
        time.sleep(0.05)


def test_a_node_joins_and_is_lost_and_the_run_ends_as_one_process_does(tmp_path, monkeypatch, reference):
    # Else no node can join (torch 2.13): only those of the first round are told of the store of the ranks.
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    port, ended = free_port(), {}
    first = agent(tmp_path, "first", port, "127.0.0.2")
    agents = [first]

    def is_over() -> bool:
        for pid in agents:
            if pid not in ended and (found := os.waitpid(pid, os.WNOHANG))[0]:
                ended[pid] = found[1]
        return first in ended

    try:
        until(lambda: is_over() or (tmp_path / "joins").exists(), tmp_path / "first.log")
        agents.append(agent(tmp_path, "second", port, "127.0.0.1"))  # comes first in the order of addresses: rank 0
        until(is_over, tmp_path / "first.log")
    finally:
        for pid in agents:
            if pid not in ended:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    assert ended == {first: 0, agents[1]: signal.SIGKILL}, (tmp_path / "first.log").read_text()[-6000:]
    steps = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [(entry["step"], entry["nodes"]) for entry in steps] == [
        (1, 1), (2, 1), (3, 2), (4, 2), (4, 1), (5, 1), (6, 1),
    ]  # fmt: skip
    assert len({entry["attempt"] for entry in steps}) == 3
    for entry in steps:
        assert entry["loss"] == pytest.approx(reference.losses[entry["step"] - 1], abs=1e-5)
        assert entry["norm"] == pytest.approx(reference.norms[entry["step"] - 1], abs=1e-5)


def test_ranks_of_an_attempt_meet_in_a_store_that_others_have_used():
    store, found = HashStore(), {}
    patience = timedelta(seconds=20)
    for _ in range(2):

        def rank(index: int) -> None:
            found.setdefault(index, []).append(meet(store, index, 3, patience))

        threads = [threading.Thread(target=rank, args=[index]) for index in (2, 1, 0)]
        for thread in threads:
            thread.start()
            time.sleep(0.1)  # those that wait find the words and answers of the attempt before
        for thread in threads:
            thread.join()
        store.set("asks/2", "of a rank that was killed while it waited")
    assert found[0] == found[1] == found[2] and len(set(found[0])) == 2


def test_ranks_that_do_not_meet_say_what_helps():
    with pytest.raises(
        TimeoutError, match=r"Rank 0 has not met 1 of 2 ranks, rank 1 among them, in .* set TORCH_DISABLE_"
    ):
        meet(HashStore(), 0, 2, timedelta(0))
    with pytest.raises(TimeoutError, match=r"Rank 1 has not met rank 0 in the store of torchrun at"):
        meet(HashStore(), 1, 2, timedelta(0))
