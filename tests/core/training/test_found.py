"""Which checkpoint of a folder a run resumes from."""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core.callbacks import AtomicCheckpointIO, Checkpoints
from internlm2_core.training.found import newest, step_of
from lightning.pytorch.demos.boring_classes import BoringModel


def write(path: Path, step: int) -> Path:
    torch.save({"global_step": step, "state_dict": {"w": torch.zeros(1000)}}, path)
    return path


def write_sharded(path: Path, step: int) -> Path:
    path.mkdir()
    write(path / "trainer.pt", step)
    content = (path / "trainer.pt").read_bytes()
    entries = {"trainer.pt": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    (path / "manifest.json").write_text(json.dumps({"files": entries}))
    return path


def test_whatever_wrote_it_the_one_with_most_steps_counts(tmp_path: Path) -> None:
    assert newest(tmp_path / "nothing") is None and newest(tmp_path) is None
    write(tmp_path / "last.ckpt", 8)
    assert newest(tmp_path) == tmp_path / "last.ckpt"
    write(tmp_path / "last-v1.ckpt", 20)
    write(tmp_path / "epoch=0-step=14.ckpt", 14)
    assert newest(tmp_path) == tmp_path / "last-v1.ckpt"
    write_sharded(tmp_path / "step-100.ckpt", 100)
    assert newest(tmp_path) == tmp_path / "step-100.ckpt"
    (tmp_path / ".step-120.ckpt.draft").mkdir()
    assert newest(tmp_path) == tmp_path / "step-100.ckpt"


@pytest.mark.parametrize("make", [write, write_sharded])
def test_half_a_checkpoint_falls_back_to_the_one_before(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "step-10.ckpt", 10)
    broken = make(tmp_path / "step-20.ckpt", 20)
    content = broken / "trainer.pt" if broken.is_dir() else broken
    os.truncate(content, content.stat().st_size // 2)
    with caplog.at_level(logging.WARNING):
        assert newest(tmp_path) == tmp_path / "step-10.ckpt"
    assert f"{broken} is not whole. Resumes from {tmp_path / 'step-10.ckpt'}" in caplog.text
    (tmp_path / "step-10.ckpt").unlink()
    with pytest.raises(ValueError, match=r"step-20\.ckpt is not whole, and there is no other\. Delete it"):
        newest(tmp_path)


@pytest.mark.parametrize("make", [write, write_sharded])
def test_no_flipped_bit_is_loaded(make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    older = write(tmp_path / "step-10.ckpt", 10)
    path = make(tmp_path / "step-20.ckpt", 20)
    file = path / "trainer.pt" if path.is_dir() else path
    whole, found = file.read_bytes(), []
    for place in range(0, len(whole), 41):
        content = bytearray(whole)
        content[place] ^= 16
        file.write_bytes(content)
        found.append(newest(tmp_path))
        if found[-1] == path:  # where nothing reads it, as padding
            assert torch.equal(torch.load(file, weights_only=True)["state_dict"]["w"], torch.zeros(1000))
    assert found.count(older) > len(found) / 2 if path.is_file() else {*found} == {older}
    assert f"{path} is damaged (" in caplog.text
    if path.is_dir():  # not read where that is not wanted
        assert newest(tmp_path, verify=False) == path


def test_a_link_is_no_checkpoint_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "step-10.ckpt", 10)
    (tmp_path / "last.ckpt").symlink_to("step-20.ckpt")  # one that was never written to its end
    assert newest(tmp_path) == tmp_path / "step-10.ckpt"


def fit(folder: Path, steps: int, **settings: Any) -> list[str]:
    saver = Checkpoints(folder, every_n_train_steps=2, **settings)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=[saver],
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(BoringModel(), ckpt_path=newest(folder))
    assert (folder / "last.ckpt").is_symlink() and step_of((folder / "last.ckpt").resolve()) == steps
    return sorted((path.name for path in folder.glob("step-*")), key=lambda name: int(name[5:-5]))


def test_as_many_are_kept_as_asked_for_over_restarts(tmp_path: Path) -> None:
    assert fit(tmp_path / "one", 6) == ["step-6.ckpt"]
    assert fit(tmp_path / "two", 6, keep_last=2) == ["step-4.ckpt", "step-6.ckpt"]
    write(tmp_path / "two" / "step-5.ckpt", 5)  # a pre-emption's
    assert fit(tmp_path / "two", 8, keep_last=2) == ["step-6.ckpt", "step-8.ckpt"]
    kept = fit(tmp_path / "some", 10, keep_last=2, keep_every_n_steps=4)
    assert kept == ["step-4.ckpt", "step-8.ckpt", "step-10.ckpt"]
    assert len(fit(tmp_path / "all", 8, keep_last=-1)) == 4
    with pytest.raises(ValueError, match="keep_last=0 must be 1 or more, or -1 for all"):
        Checkpoints(tmp_path, keep_last=0)


def test_a_broken_one_does_not_count_as_kept(tmp_path: Path) -> None:
    fit(tmp_path, 4, keep_last=1)
    (tmp_path / "step-3.ckpt").write_bytes(b"half")
    (tmp_path / ".step-3.ckpt.draft").write_bytes(b"left by a run that was killed")
    assert fit(tmp_path, 6, keep_last=1) == ["step-6.ckpt"]
    assert not list(tmp_path.glob(".step*"))
    (tmp_path / "step-9.ckpt").write_bytes(b"half")  # later than what is saved next
    assert fit(tmp_path, 8, keep_last=1) == ["step-8.ckpt", "step-9.ckpt"]


def test_a_state_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    save = AtomicCheckpointIO.save_checkpoint

    def counting(self: AtomicCheckpointIO, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        written.append(Path(path).name)
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", counting)
    fit(tmp_path, 6)
    assert written == ["step-2.ckpt", "step-4.ckpt", "step-6.ckpt"]


def test_the_best_is_kept_by_its_own_validation(tmp_path: Path) -> None:
    class Measured(BoringModel):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            # Best at step 4.
            self.log("valid/x", float(abs(self.trainer.global_step - 4)))

    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=8,
        callbacks=[Checkpoints(tmp_path, monitor="valid/x")],
        val_check_interval=2,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Measured())
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-4.ckpt"]
