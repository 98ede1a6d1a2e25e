"""Pre-emption, hangs, diagnosis."""

import os
import re
import signal
import time

import lightning as L
import pytest
import torch
from internlm2_parallel import Layout, MeshStrategy
from internlm2_parallel.checkpoint import CheckpointPolicy
from internlm2_parallel.checkpoint.folder import completed
from internlm2_parallel.health import (
    HangWatch,
    Preempted,
    Preemption,
    diagnose,
    divergence,
    failed_nodes,
    preemption,
)
from internlm2_parallel.health.nodes import host
from internlm2_parallel.health.preemption import requeue
from internlm2_parallel.health.watch import SILENT, notes_in
from internlm2_parallel.testing import LAYOUTS, RankError, TinyLM, quiet_trainer, run_ranks, train, train_case
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel


class Signal(L.Callback):
    """A signal to one rank in the middle of a batch."""

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == 2 and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGUSR1)


def test_a_signal_to_one_rank_stops_all_at_the_step_boundary_and_the_run_goes_on(tmp_path):
    torch.set_num_threads(1)
    reference = train("auto", 1)

    def preempted():
        module = TinyLM()
        before = signal.getsignal(signal.SIGUSR1)
        with pytest.raises(Preempted) as stopped:
            trainer = quiet_trainer(MeshStrategy(Layout(shard=2)), 2, callbacks=[Signal(), Preemption(tmp_path)])
            trainer.fit(module)
        assert signal.getsignal(signal.SIGUSR1) == before
        return module.losses, stopped.value.code

    for losses, code in run_ranks(preempted, 2, join=False):
        assert len(losses) == 3 and code == 75
    records = train_case(LAYOUTS["tensor"], ckpt_path=tmp_path / "last.ckpt", callbacks=[Preemption(tmp_path)])
    assert len(records[0].losses) == 3
    assert max(record.distance(reference, 3) for record in records) < 1e-5


def test_a_checkpoint_written_in_the_background_is_whole_before_the_job_is_requeued(tmp_path, monkeypatch):
    def preempted():
        whole = []
        monkeypatch.setattr(preemption, "requeue", lambda: whole.append(completed(tmp_path / "last.ckpt")))
        strategy = MeshStrategy(Layout(shard=2), checkpoints=CheckpointPolicy(asynchronous=True))
        with pytest.raises(Preempted):
            quiet_trainer(strategy, 2, callbacks=[Signal(), Preemption(tmp_path)]).fit(TinyLM())
        return whole

    assert run_ranks(preempted, 2, join=False) == [[True], []]


def test_without_scontrol_the_state_is_saved_all_the_same(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert not requeue()
    assert "Job 7 is not requeued: there is no scontrol here" in caplog.text
    monkeypatch.delenv("SLURM_JOB_ID")
    assert not requeue()


def test_an_unknown_signal_is_refused(tmp_path):
    with pytest.raises(ValueError, match="SIGNONE"):
        Preemption(tmp_path, signals=["SIGNONE"])


def test_the_state_is_saved_beside_the_checkpoints_of_the_trainer(tmp_path):
    def preempted():
        strategy, writer = MeshStrategy(Layout(shard=2)), ModelCheckpoint(tmp_path / "elsewhere", save_top_k=0)
        with pytest.raises(Preempted):
            callbacks = [Signal(), Preemption(), writer]
            quiet_trainer(strategy, 2, callbacks=callbacks, enable_checkpointing=True).fit(TinyLM())

    run_ranks(preempted, 2, join=False)
    assert completed(tmp_path / "elsewhere" / "last.ckpt")


def test_nowhere_to_save_is_refused_before_the_first_step():
    module = TinyLM()
    with pytest.raises(ValueError, match=r"folder=None takes the folder of a ModelCheckpoint"):
        quiet_trainer("auto", 1, callbacks=[Preemption()]).fit(module)
    assert not module.losses


class SignalAt(L.Callback):
    def __init__(self, batch):
        self.batch, self.ended = batch, []

    def on_train_batch_start(self, trainer, module, batch, index):
        if index == self.batch:
            os.kill(os.getpid(), signal.SIGUSR1)

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.ended.append(index)


def test_a_run_that_accumulates_leaves_after_an_optimizer_step(tmp_path):
    def fit(*callbacks, ckpt_path=None):
        torch.manual_seed(0)
        module = BoringModel()
        trainer = quiet_trainer("auto", 1, callbacks=list(callbacks), max_steps=4, accumulate_grad_batches=3)
        trainer.fit(module, ckpt_path=ckpt_path)
        return module.state_dict()

    at = SignalAt(3)
    with pytest.raises(Preempted):
        fit(at, Preemption(tmp_path))
    assert at.ended == [0, 1, 2, 3, 4, 5]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2


class Stall(L.Callback):
    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == 2 and trainer.global_rank == 1:
            time.sleep(300)


def test_a_hang_names_rank_and_operation_and_whom_it_waits_for(tmp_path):
    def rank():
        watch = HangWatch(tmp_path, timeout_s=5)
        quiet_trainer(MeshStrategy(Layout(shard=2)), 2, callbacks=[Stall(), watch]).fit(TinyLM())

    with pytest.raises(RankError):
        run_ranks(rank, 2, join=False, deadline_s=90)
    text = (tmp_path / "rank-0.stack.txt").read_text()
    assert re.search(r"Rank 0 has not moved for \d+ s: after step 2 it waits in all_reduce", text)
    assert f"It seems to wait for rank 1 on {host()} at step 2 in on_train_batch_start in test_health.py" in text
    assert re.search(r"all_reduce of .*: rank 1 \(at \d+\) did not enter it", str(divergence(tmp_path)))
    assert failed_nodes(tmp_path, times=1) == [host()] and failed_nodes(tmp_path) == []
    assert (tmp_path / "rank-1.stack.txt").read_text().count("time.sleep(300)")
    cause = diagnose(text)
    assert cause is not None and cause.name == "hang" and cause.is_worth_a_restart


def test_what_an_earlier_attempt_of_more_ranks_has_left_accuses_nobody(tmp_path):
    for name in ("rank-0.json", "rank-0.flight.json", "rank-7.json", "nodes.jsonl"):
        (tmp_path / name).write_text('{"rank": 7, "step": 0, "operation": "no collective", "host": "node7"}')
    watch = HangWatch(tmp_path)
    quiet_trainer("auto", 1, callbacks=[watch], max_steps=1).fit(TinyLM())
    assert {file.name for file in tmp_path.iterdir()} == {"before", "nodes.jsonl", "rank-0.json"}
    assert {file.name for file in (tmp_path / "before").iterdir()} == {
        "rank-0.json",
        "rank-0.flight.json",
        "rank-7.json",
    }
    assert notes_in(tmp_path) == [{"rank": 0, "host": host(), "step": 0, "operation": SILENT}]


class Limits(L.Callback):
    """What each hook may take."""

    def __init__(self, watch):
        self.watch, self.seen = watch, {}

    def _note(name):  # noqa: N805
        def note(self, *_):
            self.seen.setdefault(name, set()).add(self.watch.limit_s)

        return note

    on_train_batch_start, on_validation_batch_start = _note("step"), _note("validation")
    on_validation_epoch_end, on_save_checkpoint = _note("after validation"), _note("checkpoint")
    on_train_end = _note("end")


class Validated(TinyLM):
    def val_dataloader(self):
        return torch.utils.data.DataLoader([{}] * 3, batch_size=None)

    def validation_step(self, *_):
        pass


def test_what_has_no_steps_is_no_hang(tmp_path):
    watch = HangWatch(tmp_path / "notes", timeout_s=1000, pause_timeout_s=2000)
    limits, saver = Limits(watch), ModelCheckpoint(tmp_path / "kept", every_n_train_steps=2)
    trainer = quiet_trainer(
        "auto", 1, callbacks=[watch, limits, saver], enable_checkpointing=True, val_check_interval=2, max_steps=4
    )
    trainer.fit(Validated())
    pauses = {key: {2000} for key in ("after validation", "checkpoint", "end")}
    assert limits.seen == {"step": {1000}, "validation": {1000}, **pauses}
    with pytest.raises(ValueError, match=r"pause_timeout_s=1 must be at least timeout_s=2"):
        HangWatch(tmp_path, timeout_s=2, pause_timeout_s=1)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "out of GPU memory"),
        ("OSError: [Errno 28] No space left on device", "disk full"),
        ("slurmstepd: error: *** JOB 7 CANCELLED DUE TO NODE FAILURE ***", "node failed"),
        ("RuntimeError: [pair.cc] Connection closed by peer [127.0.0.1]", "connection lost"),
        ("[c10d] waitForInput: socket SocketImpl(fd=22, addr=[::1]:4) timed out after 60000ms", "nodes do not meet"),
        ("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus", "broken GPU"),
        ("Stopped after step 12 (SIGUSR2), state saved.", "preempted"),
        ("ValueError: Layout pipeline=1 x shard=3 does not fill a world of 2", "bad layout"),
    ],
)
def test_known_causes(line, name):
    cause = diagnose(f"epoch 0\n{line}\ntraceback follows")
    assert cause is not None and cause.name == name and cause.line == line


def test_the_root_of_the_trouble_wins_over_what_follows_from_it():
    log = "rank 1: Connection closed by peer\nrank 0: CUDA out of memory"
    cause = diagnose(log)
    assert cause is not None and cause.name == "out of GPU memory"
    assert diagnose("all is well") is None
