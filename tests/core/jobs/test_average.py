"""The mean of models, against torch's."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel
from internlm2_core.checkpoint import save_llama, save_released
from internlm2_core.checkpoint.any_layout import layout_of, read_model
from internlm2_core.jobs import average
from internlm2_core.jobs.average import mean
from internlm2_core.optim import Constant
from internlm2_core.text import load_tokenizer
from internlm2_core.training.reading import read_checkpoint
from safetensors.torch import load_file
from torch.utils.data import DataLoader


@pytest.fixture
def save(tmp_path: Path, size, tokenizer_file: Path) -> Callable[..., Path]:
    def write(name: str, seed: int, llama: bool = False, shard_bytes: int = 2**30, **changes) -> Path:
        shape = type(size)(**{**vars(size), **changes})
        net = LanguageModel(shape)
        net.init_weights(torch.Generator().manual_seed(seed))
        tensors = [(name, tensor.to(changes.get("dtype", torch.float32))) for name, tensor in net.state_dict().items()]
        (save_llama if llama else save_released)(
            tmp_path / name, shape, tensors, tokenizer_file, shard_bytes=shard_bytes
        )
        return tmp_path / name

    return write


@pytest.mark.parametrize("llama", [False, True])
def test_the_mean_equals_that_of_torch(save, tmp_path: Path, llama: bool) -> None:
    """Whatever the layouts are, and however the files are cut: tensors arrive in another order then."""
    folders = [save("a", 1, llama), save("b", 2, not llama, shard_bytes=20_000), save("c", 3, llama)]
    average([str(folder) for folder in folders], str(tmp_path / "mean"))
    found, *models = (dict(read_model(folder)) for folder in (tmp_path / "mean", *folders))
    assert found.keys() == models[0].keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, torch.stack([model[name] for model in models]).mean(0))
        assert not torch.equal(tensor, models[0][name]) or "norm" in name
    assert layout_of(tmp_path / "mean") == layout_of(folders[0])
    assert load_tokenizer(tmp_path / "mean").pieces() == load_tokenizer(folders[0]).pieces()


def test_sums_are_float32() -> None:
    """In bfloat16, 256 and 1 are 256."""
    values = [torch.tensor([value], dtype=torch.bfloat16) for value in (256, 1, 1, 1, 1, 1, 1, 1)]
    [(_, found)] = mean([iter([("x", value)]) for value in values])
    assert found.dtype == torch.bfloat16
    assert found == torch.stack(values).double().mean(0).to(torch.bfloat16)
    assert found != sum(values) / 8


def test_checkpoints_of_a_run(tmp_path: Path, tiny, batches, tokenizer_file: Path) -> None:
    def make() -> LanguageModel:
        net = LanguageModel(tiny.__class__(**{**vars(tiny), "vocab_size": 300}))
        net.init_weights(torch.Generator().manual_seed(0))
        return net

    module = LM(make, partial(torch.optim.AdamW, lr=1e-2), Constant(), load_tokenizer(tokenizer_file))
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = L.Trainer(accelerator="cpu", max_steps=1, max_epochs=-1, **quiet)
    paths = []
    for steps in (1, 2):
        trainer.fit_loop.epoch_loop.max_steps = steps
        trainer.fit(module, DataLoader(batches(1), batch_size=None))
        paths.append(str(tmp_path / f"step-{steps}.ckpt"))
        trainer.save_checkpoint(paths[-1])
    average(paths, str(tmp_path / "mean"))
    found = load_file(tmp_path / "mean" / "model.safetensors")
    first, second = (read_checkpoint(Path(path))["state_dict"] for path in paths)
    assert len(found) == len(first)
    assert not torch.equal(first["net.output.weight"], second["net.output.weight"])
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, (first[f"net.{name}"] + second[f"net.{name}"]) / 2)


def test_what_has_no_mean(save, tmp_path: Path, tokenizer_file: Path) -> None:
    first = str(save("a", 1))
    to = str(tmp_path / "mean")
    for changes, words in {
        "dim": (32, r"differ in dim \(32, and not 48\)"),
        "rope_base": (7.0, "differ in rope_base"),
    }.items():
        with pytest.raises(ValueError, match=words[1]):
            average([first, str(save(changes, 1, **{changes: words[0]}))], to)
    other = save("words", 1)
    text = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(text.replace("[UNUSED_TOKEN_130]", "[UNUSED_TOKEN_13O]"))
    with pytest.raises(ValueError, match=r"differ in tokenizer. Only"):
        average([first, str(other)], to)
    with pytest.raises(ValueError, match=r"checkpoints=\['.*a'\] must be a list of two or more"):
        average([first], to)
    with pytest.raises(
        ValueError, match=r"must be all model folders, such as .*/a, or all training checkpoints, such as x"
    ):
        average([first, "x"], to)
    with pytest.raises(ValueError, match=r"which is read|another folder than the one that is read"):
        average([first, str(save("b", 2))], first)
    with pytest.raises(ValueError, match="y is not in all of the 2"):
        list(
            mean(
                [iter([("x", torch.ones(1)), ("y", torch.ones(1))]), iter([("x", torch.ones(1)), ("z", torch.ones(1))])]
            )
        )
    assert not Path(to).exists()
