"""Where a model may be written, and what a killed process leaves. INTERNLM2_KILLS=200 kills more often."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from internlm2_core import LanguageModel
from internlm2_core.checkpoint import replacing, save_released
from internlm2_core.checkpoint.replacing import check_place, new_folder
from internlm2_core.jobs import convert
from safetensors.torch import load_file

KILLS = int(os.environ.get("INTERNLM2_KILLS", "30"))


def write(draft: Path, value: int = 0) -> None:
    (draft / "config.json").write_text("{}")
    (draft / "model.safetensors").write_text(str(value))


@pytest.fixture
def folder(net: LanguageModel, tmp_path: Path, tokenizer_file: Path) -> Path:
    save_released(tmp_path / "model", net.size, net.state_dict().items(), tokenizer_file)
    return tmp_path / "model"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["thesis.txt"], "holds thesis.txt"),
        (["config.json", "model.safetensors", "notes/a", "x.bin"], "holds notes/, x.bin"),
        (["model.safetensors"], "holds model.safetensors"),  # of some other program
        (["a", "b", "c", "d", "e"], "holds a, b, c and 2 more"),
    ],
)
def test_what_is_not_a_model_stays(folder: Path, tmp_path: Path, files: list[str], words: str) -> None:
    for name in files:
        (tmp_path / "papers" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "papers" / name).write_text(name)
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path}/papers {words}\. The model needs a folder that is absent"):
        convert(str(folder), str(tmp_path / "papers"), "llama")
    assert everything(tmp_path) == before


def test_the_source_and_folders_above_it_stay(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(folder)
    before = everything(tmp_path)
    for to, words in {
        tmp_path: f"{tmp_path} holds {folder}, which is read",
        folder: "must be another folder",
        tmp_path / "link": "must be another folder",
        tmp_path / "file": "is a file",
        Path("/proc"): "is a mount point",
    }.items():
        with pytest.raises(ValueError, match=words):
            convert(str(folder), str(to), "llama")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match=r"\. is the current folder or above it"):
        convert(str(folder), ".", "llama")
    assert everything(tmp_path) == before


def test_a_link_stays_and_an_empty_folder_is_filled(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scratch")
    for layout in ("llama", "released"):  # the first into an empty folder, the second in place of the first
        convert(str(folder), str(tmp_path / "link"), layout)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "scratch" / "model.safetensors").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "model", "scratch"]


def test_what_came_while_the_model_was_written_is_kept(tmp_path: Path) -> None:
    for value in (1, 2):
        with new_folder(tmp_path / "model") as draft:
            write(draft, value)
            if value == 2:
                (tmp_path / "model" / "notes.txt").write_text("mine")
    assert everything(tmp_path / "model") == {"config.json": b"{}", "model.safetensors": b"2", "notes.txt": b"mine"}
    with pytest.raises(ValueError, match=r"holds notes\.txt"):
        check_place(tmp_path / "model")


def test_file_systems_that_cannot_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "exchange", lambda first, second: False)
    for value in (1, 2):
        with new_folder(tmp_path / "model") as draft:
            write(draft, value)
    assert everything(tmp_path) == {"model/config.json": b"{}", "model/model.safetensors": b"2"}
    # Killed between the two steps: the next one to write finds the older model, and it counts until then.
    (tmp_path / "model").rename(tmp_path / ".model.0123abcd.old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "model") as draft:
        assert everything(tmp_path / "model")["model.safetensors"] == b"2"
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_drafts_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    dead, foreign = tmp_path / ".model.0123abcd.draft", tmp_path / ".model.something.draft"
    for left in (dead, foreign):
        left.mkdir()
        write(left)
    with new_folder(tmp_path / "model") as living:
        write(living)
        with new_folder(tmp_path / "model") as other:
            write(other)
            assert living.is_dir()
            assert not dead.exists()
    assert foreign.is_dir()


TENSORS = {f"layer{i}": torch.zeros(3000) for i in range(8)}


def write_again_and_again(place: Path, first: int) -> None:
    for value in count(first):
        with new_folder(place) as draft:
            from internlm2_core.checkpoint.folder import write_json, write_tensors

            write_tensors(draft, ((name, tensor + value) for name, tensor in TENSORS.items()), shard_bytes=30_000)
            write_json(draft / "config.json", {"value": value})


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_whole_model_is_there_whenever_the_process_is_killed(
    tmp_path: Path, can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(replacing, "exchange", lambda first, second: False)
    place, draw = tmp_path / "model", random.Random(can_exchange)
    with new_folder(place) as draft:
        write(draft)
    shutil.rmtree(place)
    written = 0
    for kill in range(KILLS // 2):
        process = multiprocessing.get_context("fork").Process(target=write_again_and_again, args=(place, kill * 1000))
        process.start()
        time.sleep(draw.uniform(0.02, 0.1))
        how = draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        os.kill(process.pid or 0, how)
        process.join(1)  # Python ignores an interrupt in the middle of a finaliser
        process.kill()
        process.join()
        if not can_exchange:
            replacing.remove_leftovers(place)
        if place.exists():
            whole = {name: value for file in place.glob("*.safetensors") for name, value in load_file(file).items()}
            [value] = {float(number) for tensor in whole.values() for number in tensor}
            assert set(whole) == set(TENSORS)
            assert (place / "config.json").read_text().split() == ["{", '"value":', str(int(value)), "}"]
            written += 1
        else:
            assert not written, "the model is gone"
    assert written > KILLS // 4
    replacing.remove_leftovers(place)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
