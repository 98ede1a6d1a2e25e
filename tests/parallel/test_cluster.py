"""What a run on many nodes needs: slow ranks named, nodes that failed, records of collectives, checkpoints brought back."""

import json
import logging
import os
import shutil
import socket

import lightning as L
import pytest
import torch
import torch.distributed as dist
from internlm2_parallel import CheckpointPolicy, Communication, Layout, MeshStrategy
from internlm2_parallel.__main__ import main
from internlm2_parallel.attempts import ATTEMPT
from internlm2_parallel.checkpoint import damage
from internlm2_parallel.checkpoint.policy import newer_remote, upload
from internlm2_parallel.health import FailedNodes, Stragglers, divergence, failed_nodes, stragglers
from internlm2_parallel.health.flight import write_flight
from internlm2_parallel.health.nodes import attempt, note_failure
from internlm2_parallel.health.stragglers import Pace, sentence, slowest_of
from internlm2_parallel.testing import LAYOUTS, SaveAt, TinyBatches, TinyLM, quiet_trainer, run_ranks, train_case

HERE = socket.gethostname().split(".")[0]


class Clock:
    """Goes on when it is told to."""

    now = 0.0

    def perf_counter(self):
        return self.now


class SlowBatches(TinyBatches):
    def __iter__(self):
        for batch in super().__iter__():
            stragglers.time.now += 0.6 * self.rank
            yield batch


class SlowData(TinyLM):
    def train_dataloader(self):
        return SlowBatches(self.trainer.strategy.data_parallel_rank, 2)

    def training_step(self, *args):
        super().training_step(*args)
        stragglers.time.now += 1


@pytest.mark.parametrize(
    ("module", "what", "share"),
    [
        (SlowData, "waits 600 ms for a batch, the median rank 0 ms. Its steps take 1600 ms.", 1.375),
        (TinyLM, "computes 3.0 times as long as the median rank.", 3.0),
    ],
)
def test_a_slow_rank_is_named_with_its_host_and_why(monkeypatch, module, what, share):
    def rank():
        says, slow = [], int(os.environ["RANK"]) * (module is TinyLM)
        monkeypatch.setattr(stragglers, "seconds_of_product", lambda *_: 0.01 * (1 + 2 * slow))
        monkeypatch.setattr(stragglers.log, "warning", lambda text, *of: says.append(text % of))
        if module is SlowData:
            monkeypatch.setattr(stragglers, "time", Clock())
        trainer = quiet_trainer(MeshStrategy(Layout(shard=2)), 2, callbacks=[Stragglers(every_n_steps=2)], max_steps=4)
        trainer.fit(module())
        return says, {name: float(value) for name, value in trainer.callback_metrics.items()}

    (says, figures), (others, _) = run_ranks(rank, 2, join=False)
    assert len(says) >= 1 and says[-1].startswith(f"After step 4 rank 1 on {HERE} {what}") and not others
    assert figures["health/slowest_rank"] == 1 and round(figures["health/slowest"], 3) == share


def test_the_slowest_of_many_is_compared_with_the_median():
    paces = [Pace(rank, f"node{rank // 8}", 0.01, 0.1, 1.0) for rank in range(64)]
    assert slowest_of(paces)[0] == 1
    paces[9] = paces[9]._replace(compute_s=0.15)
    paces[20] = paces[20]._replace(data_s=0.31)
    share, slow = slowest_of(paces)
    assert (round(share, 3), slow.rank) == (1.5, 9)
    assert sentence(slow, paces).startswith("rank 9 on node1 computes 1.5 times as long as the median rank.")
    paces[9] = paces[8]
    assert slowest_of(paces)[1].rank == 20
    assert "rank 20 on node2 waits 310 ms for a batch, the median rank 10 ms" in sentence(slowest_of(paces)[1], paces)
    with pytest.raises(ValueError, match=r"factor=1 must be above 1"):
        Stragglers(factor=1)


def test_a_node_that_failed_in_two_attempts_is_left_out(tmp_path, monkeypatch, capsys, caplog):
    for restart, nodes in enumerate((["node7", "node7", "node8"], ["node7"])):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        for node in nodes:  # two ranks of one node count once
            note_failure(tmp_path, node, "hang")
        assert failed_nodes(tmp_path) == ["node7"][:restart]
    assert main(["failed-nodes", str(tmp_path)]) == 0 and capsys.readouterr().out == "node7\n"
    assert main(["failed-nodes", str(tmp_path), "--times=1"]) == 0 and capsys.readouterr().out == "node7,node8\n"
    assert main(["failed-nodes", str(tmp_path), "--here"]) == 0
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    assert main(["failed-nodes", str(tmp_path), "--here"]) == 1
    with caplog.at_level(logging.WARNING):
        quiet_trainer("auto", 1, callbacks=[FailedNodes(tmp_path)], max_steps=1).fit(TinyLM())
    assert "This run failed on node7 2 times or more. Leave out node7." in caplog.text


def test_nodes_that_count_restarts_differently_name_one_attempt(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "29400")
    for shares, named in (("True", 2), ("False", 1)):  # without a store of torchrun's, the port is the attempt's own
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", shares)
        names = set()
        for count in "01":
            monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
            names.add(attempt())
        assert len(names) == named
    monkeypatch.setenv(ATTEMPT, "as the ranks have agreed")
    assert attempt() == "as the ranks have agreed"


class Breaks(L.Callback):
    def __init__(self, error):
        self.error = error

    def on_train_batch_end(self, *_):
        raise self.error


@pytest.mark.parametrize(
    ("error", "noted"), [(RuntimeError("CUDA error: uncorrectable ECC"), [HERE]), (ValueError("Layout is wrong."), [])]
)
def test_what_may_be_the_nodes_failure_is_noted(tmp_path, error, noted):
    with pytest.raises(type(error)):
        quiet_trainer("auto", 1, callbacks=[FailedNodes(tmp_path), Breaks(error)]).fit(TinyLM())
    assert failed_nodes(tmp_path, times=1) == noted


def test_records_of_collectives_say_who_did_not_enter(tmp_path, capsys):
    def rank():
        Communication(recorded=50).prepare()
        dist.init_process_group("gloo")
        mine, ones = dist.get_rank(), torch.ones(4)
        dist.all_reduce(ones)
        work = dist.all_reduce(ones, async_op=True) if mine == 0 else None
        write_flight(tmp_path / f"rank-{mine}.flight.json")
        if work is None:
            dist.all_reduce(ones)
        else:
            work.wait()

    run_ranks(rank, 2, join=False)
    found = divergence(tmp_path)
    assert found is not None and "Others are in collective 2 of group" in found
    assert "gloo:all_reduce of [[4]]: rank 1 (at 1) did not enter it." in found
    (tmp_path / "rank-0.stack.txt").write_text("Rank 0 has not moved for 9 s")
    assert main(["diagnose", str(tmp_path)]) == 0
    assert found in capsys.readouterr().out
    entry = json.loads((tmp_path / "rank-0.flight.json").read_text())["entries"][0]
    for rank, name in enumerate(("gloo:all_reduce", "gloo:broadcast")):
        (tmp_path / f"rank-{rank}.flight.json").write_text(json.dumps({"entries": [{**entry, "profiling_name": name}]}))
    assert "differs: rank 0 gloo:all_reduce, rank 1 gloo:broadcast." in str(divergence(tmp_path))


def test_what_collectives_are_told_is_set_before_ranks_connect(tmp_path, monkeypatch):
    def rank():
        options = Communication({"NCCL_IB_HCA": "mlx5", "NCCL_ASYNC_ERROR_HANDLING": 1}, folder=tmp_path / "health")
        quiet_trainer(MeshStrategy(Layout(), communication=options), 1, max_steps=1).fit(TinyLM())
        names = ("NCCL_IB_HCA", "TORCH_FR_BUFFER_SIZE", "TORCH_FR_DUMP_TEMP_FILE", "TORCH_NCCL_DUMP_ON_TIMEOUT")
        return [os.environ[name] for name in names]

    assert run_ranks(rank, 1, join=False) == [["mlx5", "2000", f"{tmp_path}/health/nccl-rank-", "1"]]
    with pytest.raises(ValueError, match=r"environment=\['PATH'\] must be variables that begin with NCCL_"):
        Communication({"PATH": "/"})


def test_a_checkpoint_comes_back_from_the_store(tmp_path, reference):
    local, remote = tmp_path / "local", f"file://{tmp_path}/remote"
    assert newer_remote(local, remote) is None
    train_case(LAYOUTS["fsdp"], callbacks=[SaveAt(step, local / f"step-{step}.ckpt") for step in (2, 3)])
    for step in (2, 3):
        upload(local / f"step-{step}.ckpt", remote)
    assert newer_remote(local, remote) is None
    (local / "step-3.ckpt" / "trainer.pt").unlink()  # broken here
    assert newer_remote(local, remote) == local / "step-3.ckpt"
    shutil.rmtree(local)
    (tmp_path / "remote/step-9.ckpt").mkdir()  # a copy that was cut off
    place = newer_remote(local, remote)
    assert place == local / "step-3.ckpt" and not place.exists()
    policy = CheckpointPolicy(remote=remote)
    records = train_case(
        LAYOUTS["tensor"], place, strategy=lambda case: MeshStrategy(case.layout, case.treatment, checkpoints=policy)
    )
    assert damage(place) == [] and max(record.distance(reference, 3) for record in records) < 1e-5
