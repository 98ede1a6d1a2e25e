"""core finds the newest whole checkpoint among those that parallel's strategies write, and parallel saves by core's."""

import os
import shutil
import signal

import lightning as L
import pytest
from internlm2_core.callbacks import Checkpoints
from internlm2_core.training.found import newest, step_of
from internlm2_core.training.run import resumes_from
from internlm2_parallel import Layout, MeshStrategy
from internlm2_parallel.checkpoint import CheckpointPolicy, completed
from internlm2_parallel.health import Preempted, Preemption
from internlm2_parallel.testing import TinyLM, quiet_trainer, run_ranks


class Signal(L.Callback):
    """To the second rank alone."""

    def __init__(self, name):
        self.name = name

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == 4 and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.Signals[self.name])


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("name", "leaves"), [("SIGUSR1", Preempted), ("SIGINT", SystemExit)])
def test_what_parallel_writes_is_found(tmp_path, asynchronous, name, leaves):
    def rank():
        strategy = MeshStrategy(Layout(shard=2), checkpoints=CheckpointPolicy(asynchronous=asynchronous))
        callbacks = [Preemption(), Signal(name), Checkpoints(tmp_path, every_n_train_steps=2)]
        with pytest.raises(leaves) as left:
            quiet_trainer(strategy, 2, callbacks=callbacks, enable_checkpointing=True).fit(TinyLM())
        assert left.type is leaves

    run_ranks(rank, 2, join=False)
    found = newest(tmp_path)
    assert found is not None and found.name == "step-5.ckpt" and step_of(found) == 5 and completed(found)
    assert (tmp_path / "last.ckpt").resolve() == found
    # Nothing is removed before something newer is whole.
    others = {path.name for path in tmp_path.glob("step-*")} - {"step-5.ckpt"}
    assert others <= {"step-4.ckpt"}
    part = next(found.glob("*.distcp"))
    os.truncate(part, part.stat().st_size - 1)
    assert step_of(found) is None and not completed(found)


def test_a_run_whose_disk_is_gone_resumes_from_the_store(tmp_path):
    local, remote = tmp_path / "local", f"file://{tmp_path}/remote"

    def rank(steps):
        strategy, module = MeshStrategy(Layout(shard=2), checkpoints=CheckpointPolicy(remote=remote)), TinyLM()
        callbacks = [Checkpoints(local, every_n_train_steps=2)]
        options = {"callbacks": callbacks, "enable_checkpointing": True, "max_steps": steps}
        trainer = quiet_trainer(strategy, 2, **options)
        found = resumes_from(trainer)
        trainer.fit(module, ckpt_path=found)
        return found, len(module.losses)

    assert run_ranks(rank, 2, 3, join=False) == [(None, 3)] * 2
    for gone in (local, tmp_path / "remote/step-3.ckpt"):  # the last one says that training is at its end
        shutil.rmtree(gone)
    assert run_ranks(rank, 2, 4, join=False) == [(local / "step-2.ckpt", 2)] * 2
    assert step_of(newest(local)) == 4
