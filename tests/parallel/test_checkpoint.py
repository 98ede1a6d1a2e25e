"""Checkpoints that are whole or not there."""

import errno
import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from internlm2_parallel import CheckpointPolicy, Layout, MeshStrategy, data_parallel_of
from internlm2_parallel.__main__ import main
from internlm2_parallel.checkpoint import as_one_file, completed, damage
from internlm2_parallel.checkpoint.folder import draft_of, publish, recover, set_aside
from internlm2_parallel.checkpoint.policy import fetch, thin, upload
from internlm2_parallel.testing import (
    LAYOUTS,
    RankError,
    SaveAt,
    TinyBatches,
    TinyLlama,
    TinyLM,
    quiet_trainer,
    run_ranks,
    train,
    train_case,
)


def written(path: Path, content: str = "content") -> Path:
    draft = draft_of(path)
    draft.mkdir(parents=True)
    (draft / "part").write_text(content)
    publish(draft, path, {})
    return path


def test_publication_and_damage(tmp_path):
    path = written(tmp_path / "step-1.ckpt")
    assert completed(path) and damage(path) == []
    (path / "part").write_text("CONTENT")
    assert completed(path) and damage(path) == ["part"]
    (path / "part").write_text("short")
    assert not completed(path) and damage(path) == ["part"]
    (path / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=f"{path} is not a whole checkpoint"):
        damage(path)


def test_replacing_a_checkpoint_leaves_nothing_behind(tmp_path):
    path = written(tmp_path / "last.ckpt", "first")
    written(path, "second")
    assert (path / "part").read_text() == "second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_replacement_cut_off_between_its_renames_is_undone(tmp_path):
    path = written(tmp_path / "last.ckpt")
    path.rename(set_aside(path))
    recover(path)
    assert completed(path) and [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_killed_in_mid_write_the_older_checkpoint_is_intact(tmp_path, reference):
    path = tmp_path / "last.ckpt"
    train_case(LAYOUTS["fsdp"], callbacks=[SaveAt(3, path)])

    class Dying(MeshStrategy):
        def save_checkpoint(self, *args, **kwargs):
            from internlm2_parallel.checkpoint import writer

            writer.publish = lambda *publication: os.kill(os.getpid(), signal.SIGKILL)
            super().save_checkpoint(*args, **kwargs)

    def rank():
        train(Dying(Layout(shard=2)), 2, callbacks=[SaveAt(5, path)])

    with pytest.raises(RankError):
        run_ranks(rank, 2, join=False, deadline_s=60)
    assert draft_of(path).is_dir() and completed(path) and damage(path) == []
    records = train_case(LAYOUTS["ddp"], ckpt_path=path)
    assert len(records[0].losses) == 3
    assert max(record.distance(reference, 3) for record in records) < 1e-5


def test_an_unfinished_folder_is_refused_in_words(tmp_path):
    (tmp_path / "step-1.ckpt").mkdir()

    def rank():
        with pytest.raises(FileNotFoundError, match="is not a whole checkpoint"):
            train(MeshStrategy(Layout(shard=2)), 2, ckpt_path=tmp_path / "step-1.ckpt")

    run_ranks(rank, 2, join=False)


class SaveFirst(L.Callback):
    """Save before the first step, or in its backward pass, as a run that accumulates may."""

    def __init__(self, path, in_backward):
        self.path, self.in_backward = path, in_backward

    def on_train_start(self, trainer, *args):
        if not self.in_backward:
            trainer.save_checkpoint(self.path)

    def on_after_backward(self, trainer, *args):
        if self.in_backward and trainer.global_step == 0:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("in_backward", [False, True])
def test_a_state_without_moments(tmp_path, reference, in_backward):
    path = tmp_path / "first.ckpt"
    records = train_case(LAYOUTS["fsdp"], callbacks=[SaveFirst(path, in_backward)], max_steps=2)
    assert max(record.distance(reference) for record in records) < 1e-5  # saving has taken no step of the moments
    if not in_backward:
        records = train_case(LAYOUTS["fsdp"], ckpt_path=path)
        assert max(record.distance(reference) for record in records) < 1e-5
        return

    def rank():  # the loop has counted a batch, whose gradients are not in the checkpoint
        return train(MeshStrategy(Layout(shard=2)), 2, ckpt_path=path, max_steps=2).losses

    assert all(len(losses) for losses in run_ranks(rank, 2, join=False))


def test_asynchronous_copied_and_thinned(tmp_path, reference):
    local, remote = tmp_path / "local", f"file://{tmp_path}/remote"
    policy = CheckpointPolicy(asynchronous=True, remote=remote, keep_local=1)
    saves = [SaveAt(step, local / f"step-{step}.ckpt") for step in (1, 2, 4)]
    records = train_case(
        LAYOUTS["fsdp"],
        strategy=lambda case: MeshStrategy(case.layout, case.treatment, checkpoints=policy),
        callbacks=saves,
    )
    assert max(record.distance(reference) for record in records) < 1e-5
    assert [path.name for path in local.iterdir()] == ["step-4.ckpt"]
    assert sorted(path.name for path in (tmp_path / "remote").iterdir()) == [f"step-{s}.ckpt" for s in (1, 2, 4)]
    back = fetch("step-2.ckpt", remote, tmp_path)
    assert damage(back) == []
    records = train_case(LAYOUTS["tensor"], ckpt_path=back)
    assert max(record.distance(reference, 2) for record in records) < 1e-5


def test_only_what_is_in_the_remote_store_is_thinned(tmp_path):
    local, remote = tmp_path / "local", f"file://{tmp_path}/remote"
    for step in (1, 2, 3):
        written(local / f"step-{step}.ckpt")
    upload(local / "step-2.ckpt", remote)
    assert [path.name for path in thin(local, remote, keep=1)] == ["step-2.ckpt"]
    with pytest.raises(FileNotFoundError, match="has no whole checkpoint called step-1"):
        fetch("step-1.ckpt", remote, tmp_path)


def test_what_one_asks_about_a_run_from_the_shell(tmp_path, capsys):
    path, remote = written(tmp_path / "last.ckpt"), f"file://{tmp_path}/remote"
    assert main(["check", str(path)]) == 0 and capsys.readouterr().out == "whole\n"
    upload(path, remote)
    assert main(["fetch", remote, "last.ckpt", str(tmp_path / "back")]) == 0
    assert damage(tmp_path / "back" / "last.ckpt") == []
    (path / "part").write_text("CONTENT")
    capsys.readouterr()
    assert main(["check", str(path)]) == 1 and capsys.readouterr().out == "part\n"
    (tmp_path / "rank-0.log").write_text("No space left on device")
    assert main(["diagnose", str(tmp_path / "rank-0.log")]) == 0
    assert capsys.readouterr().out.startswith("disk full: No space left on device\nFree space")
    (tmp_path / "rank-0.log").write_text("all is well")
    assert main(["diagnose", str(tmp_path / "rank-0.log")]) == 1


@pytest.mark.parametrize("name", ["fsdp", "tensor_sequence", "pipeline 1f1b", "pipeline interleaved"])
def test_one_file_and_back(name, tmp_path, reference):
    folder, file = tmp_path / "step-3.ckpt", tmp_path / "one.ckpt"
    train_case(LAYOUTS[name], callbacks=[SaveAt(3, folder)])
    assert main(["join", str(folder), str(file)]) == 0
    assert train("auto", 1, ckpt_path=file).distance(reference, 3) < 1e-5
    # Moments in the file are by number: those of stages must find the weights that they belong to.
    for other in ("fsdp x tensor_sequence", "pipeline interleaved") if name == "fsdp" else ("pipeline x fsdp",):
        records = train_case(LAYOUTS[other], ckpt_path=file)
        assert max(record.distance(reference, 3) for record in records) < 1e-5


class Grouped(TinyLM):
    """Groups as for weight decay. Norms are frozen, and the inner stages of a pipeline have no matrices at its ends."""

    def configure_optimizers(self):
        groups = [[], [], []]
        for name, weight in self.net.named_parameters():
            weight.requires_grad = weight.ndim > 1
            groups[1 if weight.ndim == 1 else 0 if "layers" in name else 2] += [weight] * (weight.ndim > 1)
        return torch.optim.AdamW([{"params": group} for group in groups], lr=3e-3)


def test_groups_without_weights(tmp_path):
    folder, file = tmp_path / "step-3.ckpt", tmp_path / "one.ckpt"
    reference = train("auto", 1, module=Grouped())
    train_case(LAYOUTS["pipeline 4"], module=Grouped, callbacks=[SaveAt(3, folder)])
    as_one_file(folder, file)
    seven = partial(Grouped, partial(TinyLlama, seed=7))
    assert train("auto", 1, ckpt_path=file, module=seven()).distance(reference, 3) < 1e-5
    for path, layout in ((folder, "pipeline 4"), (folder, "fsdp"), (file, "pipeline 4")):
        records = train_case(LAYOUTS[layout], module=seven, ckpt_path=path)
        assert max(record.distance(reference, 3) for record in records) < 1e-5


@pytest.mark.parametrize("name", ["pipeline interleaved", "pipeline x tensor_sequence"])
def test_a_file_of_plain_lightning_is_read_by_stages(name, tmp_path, reference):
    train("auto", 1, callbacks=[SaveAt(3, tmp_path / "one.ckpt")])
    records = train_case(LAYOUTS[name], ckpt_path=tmp_path / "one.ckpt")
    assert max(record.distance(reference, 3) for record in records) < 1e-5


def test_random_state_comes_back_under_the_same_layout(tmp_path):
    path = tmp_path / "step-1.ckpt"

    class Draw(TinyLM):
        def __init__(self):
            super().__init__(net=lambda: TinyLlama(seed=7))
            self.drawn: list[float] = []

        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            self.drawn.append(float(torch.rand(())))

    def run(ckpt_path=None, **options):
        torch.manual_seed(time.time_ns() % 1000)
        module = Draw()
        quiet_trainer(MeshStrategy(Layout(shard=2)), 2, **options).fit(module, ckpt_path=ckpt_path)
        return module.drawn

    first = run_ranks(lambda: run(callbacks=[SaveAt(2, path)]), 2, join=False)
    again = run_ranks(lambda: run(ckpt_path=path), 2, join=False)
    # The checkpoint of step 2 is taken after the draw of that step.
    assert [drawn[2:] for drawn in first] == again
    assert json.loads((path / "manifest.json").read_text())["version"] == 1


class OwnState(TinyBatches):
    """Each rank remembers something of its own, as one that shuffles by itself does."""

    def state_dict(self):
        return {**super().state_dict(), "drawn": torch.tensor([self.rank])}


def test_loaders_in_different_states_are_not_shared_under_another_layout(tmp_path):
    class Module(TinyLM):
        def train_dataloader(self):
            return OwnState(*data_parallel_of(self.trainer.strategy))

    path = tmp_path / "step-2.ckpt"
    train_case(LAYOUTS["fsdp"], module=Module, callbacks=[SaveAt(2, path)], max_steps=2)
    again = train_case(LAYOUTS["fsdp"], module=Module, ckpt_path=path, max_steps=3)
    assert [len(record.losses) for record in again] == [1, 1]

    def rank():
        with pytest.raises(ValueError, match=r"shard=2 .*, whose ranks had loaders in different states") as refused:
            train(MeshStrategy.ddp(), 2, ckpt_path=path, module=Module())
        return str(refused.value)

    assert len(set(run_ranks(rank, 2, join=False))) == 1


@pytest.mark.parametrize("part", ["shard", "rank file", "shard in the background"])
def test_a_full_disk_is_one_sentence_on_every_rank_and_leaves_the_older_checkpoint(tmp_path, part):
    from internlm2_parallel.checkpoint import own, writer

    path = tmp_path / "last.ckpt"

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    class Fills(L.Callback):
        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == 3 and trainer.global_rank == 1:
                trainer.strategy.store.wait()  # the first one is written
                setattr(*((own.torch, "save") if part == "rank file" else (writer, "write_durably")), full)

    def rank():
        checkpoints = CheckpointPolicy(asynchronous=part.endswith("background"))
        strategy = MeshStrategy(Layout(shard=2), checkpoints=checkpoints)
        with pytest.raises(OSError, match=r"last\.ckpt was not written: .*No space left .*The checkpoint before it is"):
            quiet_trainer(strategy, 2, callbacks=[SaveAt(2, path), Fills(), SaveAt(4, path)]).fit(TinyLM())
        return strategy.store.wait()

    run_ranks(rank, 2, join=False)
    assert damage(path) == [] and [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]
