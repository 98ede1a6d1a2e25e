"""Each state is written once, and in the background it is the state of its step."""

import io
import threading
import time
from pathlib import Path

import lightning as L
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from internlm2_parallel import CheckpointPolicy, Layout, MeshStrategy
from internlm2_parallel.__main__ import main
from internlm2_parallel.checkpoint import damage, staging
from internlm2_parallel.checkpoint.background import Background
from internlm2_parallel.checkpoint.staging import Staging
from internlm2_parallel.checkpoint.writer import write_part
from internlm2_parallel.testing import SaveAt, TinyLM, quiet_trainer, run_ranks
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel


def parts(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if file.suffix not in (".pt", ".json")}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_with_save_last_a_state_is_written_once(tmp_path, asynchronous):
    def rank():
        strategy = MeshStrategy(Layout(shard=2), checkpoints=CheckpointPolicy(asynchronous=asynchronous))
        saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_last=True)
        quiet_trainer(strategy, 2, callbacks=[saver], enable_checkpointing=True, max_steps=4).fit(TinyLM())

    run_ranks(rank, 2, join=False)
    step, last = tmp_path / "step=4.ckpt", tmp_path / "last.ckpt"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "step=4.ckpt"]  # step 2 is removed
    assert parts(step) == parts(last) == {".metadata", "__0_0.distcp", "__1_0.distcp"}
    assert all((step / name).samefile(last / name) for name in parts(step))
    assert not (step / "trainer.pt").samefile(last / "trainer.pt")  # Lightning has other things to say of each
    assert damage(step) == damage(last) == []


def test_what_the_store_has_already_is_not_sent_again(tmp_path, monkeypatch):
    sent, put_file = [], LocalFileSystem.put_file

    def watched(self, source, target, **options):
        sent.append("/".join(Path(source).parts[-2:]))
        return put_file(self, source, target, **options)

    monkeypatch.setattr(LocalFileSystem, "put_file", watched)

    def rank():
        policy = CheckpointPolicy(asynchronous=True, remote=f"file://{tmp_path}/remote")
        saves = [SaveAt(1, tmp_path / "local" / name) for name in ("step-1.ckpt", "last.ckpt")]
        quiet_trainer(MeshStrategy(Layout(), checkpoints=policy), 1, callbacks=saves, max_steps=1).fit(TinyLM())
        return sent

    [names] = run_ranks(rank, 1, join=False)
    files = {file.name for file in (tmp_path / "remote" / "step-1.ckpt").iterdir()}
    assert {f"step-1.ckpt/{name}" for name in files} <= set(names) and "step-1.ckpt/__0_0.distcp" in names
    of_last = {name for name in names if name.startswith("last.ckpt/")}
    assert "last.ckpt/manifest.json" in of_last <= {"last.ckpt/manifest.json", "last.ckpt/trainer.pt"}
    assert damage(tmp_path / "remote" / "last.ckpt") == damage(tmp_path / "remote" / "step-1.ckpt") == []


def test_another_state_is_written_whole(tmp_path):
    class Change(L.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            with torch.no_grad():
                module.net.model.norm.weight.add_(1)

    def rank():
        callbacks = [SaveAt(2, tmp_path / "a.ckpt"), Change(), SaveAt(2, tmp_path / "b.ckpt")]
        quiet_trainer(MeshStrategy(Layout(shard=2)), 2, callbacks=callbacks, max_steps=2).fit(TinyLM())

    run_ranks(rank, 2, join=False)
    assert not (tmp_path / "a.ckpt/__0_0.distcp").samefile(tmp_path / "b.ckpt/__0_0.distcp")


@pytest.mark.parametrize("of_module", [TinyLM, BoringModel])
def test_what_is_written_in_the_background_is_the_state_of_its_step(tmp_path, monkeypatch, of_module):
    copy_all = staging.copy_all

    def late(pairs, stream):
        if pairs and threading.current_thread() is not threading.main_thread():
            time.sleep(0.1)  # many steps, if nothing waited
        copy_all(pairs, stream)

    monkeypatch.setattr(staging, "copy_all", late)

    def run(asynchronous):
        torch.manual_seed(0)
        names = ("net", "layer")
        policy = CheckpointPolicy(asynchronous=asynchronous)
        strategy = MeshStrategy(Layout(), checkpoints=policy, nets=names)
        saves = [SaveAt(step, tmp_path / f"{asynchronous}-{step}.ckpt") for step in (1, 2, 4)]
        module = of_module()
        quiet_trainer(strategy, 1, callbacks=saves, max_steps=5).fit(module)

    for asynchronous in (False, True):
        run_ranks(lambda asynchronous=asynchronous: run(asynchronous), 1, join=False)
    for step in (1, 2, 4):
        states = []
        for asynchronous in (False, True):
            file = tmp_path / f"{asynchronous}-{step}.pt"
            assert main(["join", str(tmp_path / f"{asynchronous}-{step}.ckpt"), str(file)]) == 0
            states.append(torch.load(file, weights_only=True))
        torch.testing.assert_close(*(state["state_dict"] for state in states), rtol=0, atol=0)
        torch.testing.assert_close(*(state["optimizer_states"] for state in states), rtol=0, atol=0)


def test_copies_are_made_in_the_same_memory_and_buffers_at_once(monkeypatch):
    may_copy, copy_all = threading.Event(), staging.copy_all

    def held_back(pairs, stream):
        if threading.current_thread() is not threading.main_thread():
            may_copy.wait(10)
        copy_all(pairs, stream)

    monkeypatch.setattr(staging, "copy_all", held_back)
    weights, kept = {"weight": torch.zeros(3), "mean": torch.zeros(3), "name": "of no tensor"}, Staging()
    first = kept.begin({"weights": weights}, changing={"mean"})["weights"]
    weights["mean"].add_(1)  # as a forward pass does
    may_copy.set()
    kept.wait()
    assert first["mean"].tolist() == [0, 0, 0] and first["name"] == "of no tensor"
    weights["weight"].add_(2)
    second = kept.begin({"weights": weights}, changing={"mean"})["weights"]
    kept.wait()
    assert second["weight"].tolist() == [2, 2, 2] and second["mean"].tolist() == [1, 1, 1]
    assert second["weight"].data_ptr() == first["weight"].data_ptr() != weights["weight"].data_ptr()
    may_copy.clear()
    kept.begin({"weights": weights}, changing=set())
    weights["weight"].add_(1)
    may_copy.set()
    with pytest.raises(OSError, match="were changed before the next optimizer step"):
        kept.wait()


def test_gradients_are_computed_while_copies_are_made_and_the_step_waits(monkeypatch):
    happened, may_copy, copy_all = [], threading.Event(), staging.copy_all

    def held_back(pairs, stream):
        if threading.current_thread() is not threading.main_thread():
            may_copy.wait(10)
            happened.append("copied")
        copy_all(pairs, stream)

    def closure():
        happened.append("gradients")
        may_copy.set()
        weight.grad = torch.ones(1)
        return torch.zeros(())

    monkeypatch.setattr(staging, "copy_all", held_back)
    weight, kept = torch.nn.Parameter(torch.zeros(1)), Staging()
    optimizer = torch.optim.SGD([weight], lr=1.0)
    optimizer.register_step_pre_hook(kept.before_step)
    staged = kept.begin({"weights": {"weight": weight.detach()}}, changing=set())
    optimizer.step(closure=closure)
    assert happened == ["gradients", "copied"] and weight.item() == -1 and staged["weights"]["weight"].item() == 0
    kept.wait()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0, 3), (5, 7)])
def test_a_tensor_is_written_as_torch_writes_it(tmp_path, dtype, shape):
    tensor = (torch.arange(70).reshape(10, 7) % 2).to(dtype)[: shape[0] if shape else 1, : shape[1] if shape else 1]
    tensor = tensor.reshape(shape) if not shape else tensor
    with (tmp_path / "part").open("wb+") as file:
        file.write(b"before")
        write_part(file, tensor.t() if tensor.ndim == 2 else tensor)
        file.seek(6)
        read = torch.load(io.BytesIO(file.read()), weights_only=True)
    torch.testing.assert_close(read, tensor.t() if tensor.ndim == 2 else tensor, rtol=0, atol=0)
    assert (tmp_path / "part").stat().st_size < 4000  # not the storage around it


def test_what_fails_leaves_the_rest_undone():
    done, background = [], Background()

    def fail():
        raise OSError("full")

    background.do(fail)
    background.do(lambda: done.append("removed"))
    with pytest.raises(OSError, match="full"):
        background.wait()
    background.do(lambda: done.append("next"))
    background.wait()
    assert done == ["next"]
