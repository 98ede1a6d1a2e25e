"""The mean of several models: checkpoints of one run, or models that started from the same weights.

Averaged checkpoints of a constant learning rate come near to what a decay gives (LAWA, arXiv 2306.03241), and averaged
models that were tuned apart often beat each of them (model soups, arXiv 2203.05482).
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from internlm2_core.checkpoint.any_layout import layout_of, read_model
from internlm2_core.checkpoint.configs import CONDITIONS_FILE
from internlm2_core.checkpoint.folder import checked, tensor_files
from internlm2_core.checkpoint.llama import save_llama
from internlm2_core.checkpoint.released import read_size, save_released, tensor_shapes
from internlm2_core.checkpoint.replacing import check_place
from internlm2_core.checkpoint.tokenizer_files import carry
from internlm2_core.nn.init import NamedTensors
from internlm2_core.text import load_tokenizer


def average(checkpoints: Sequence[str], to: str) -> None:
    """Write the mean of models as a model folder, in the layout of the first. Sums are float32.

    Args:
        checkpoints: Model folders of whichever layout, or training checkpoints, two or more.
        to: The new folder. It must be absent, empty, or an older model, which is replaced.

    Raises:
        FileNotFoundError: If one is neither a model nor a whole training checkpoint.
        ValueError: If there are fewer than two, or they differ in kind, shape, tokenizer or conditions.
    """
    if isinstance(checkpoints, str) or len(checkpoints) < 2:
        raise ValueError(f"checkpoints={checkpoints} must be a list of two or more.")
    folders = [path for path in map(Path, checkpoints) if (path / "config.json").is_file()]
    if folders and len(folders) < len(checkpoints):
        other = next(path for path in checkpoints if Path(path) not in folders)
        raise ValueError(
            f"checkpoints={list(checkpoints)} must be all model folders, such as {folders[0]}, or all training "
            f"checkpoints, such as {other}."
        )
    for path in checkpoints:
        check_place(to, path)
    kind = average_folders(folders, to) if folders else average_training(checkpoints, to)
    print(f"{to}: {kind}, the mean of {len(checkpoints)}")


def average_folders(folders: Sequence[Path], to: str) -> str:
    """Write the mean of model folders. At most as many whole tensors are held as their files differ in order.

    Args:
        folders: The models.
        to: The new folder.

    Returns:
        The layout.

    Raises:
        ValueError: If they differ in kind, shape, tokenizer or conditions.
    """
    first, size, layout = folders[0], read_size(folders[0]), layout_of(folders[0])
    is_reward = layout.endswith("reward")
    for folder in folders[1:]:
        compare(folder, first, traits_of_folder(folder), traits_of_folder(first))
    shapes = tensor_shapes(size, is_reward)
    tensors = mean([checked(read_model(folder), shapes, folder) for folder in folders])
    shard_bytes = max(file.stat().st_size for file in tensor_files(first).values())
    save = save_llama if layout.startswith("llama") else save_released
    save(to, size, tensors, first, is_reward=is_reward, shard_bytes=shard_bytes, beside=partial(write_beside, first))
    return layout


def average_training(checkpoints: Sequence[str], to: str) -> str:
    """Write the mean of what training checkpoints of one module hold. Weights are read by memory map.

    Args:
        checkpoints: Files, sharded ones, or folders of runs.
        to: The new folder.

    Returns:
        The module's class.

    Raises:
        ValueError: If they differ in module, shape or tokenizer, or are of a module that cannot write its model.
    """
    from internlm2_core.training.hyperparameters import named
    from internlm2_core.training.reading import checkpoint_at, read_checkpoint
    from internlm2_core.training.steps import StepModule

    paths = [checkpoint_at(path) for path in checkpoints]
    if len(set(paths)) < len(paths):
        raise ValueError(f"checkpoints={[str(path) for path in paths]} must differ.")
    contents = [read_checkpoint(path) for path in paths]
    first = contents[0]
    for path, content in zip(paths[1:], contents[1:], strict=True):
        compare(path, paths[0], traits_of_training(content), traits_of_training(first))
    kind = named(first.get("module", "nothing"))
    assert issubclass(kind, StepModule)
    weights = dict(mean([iter(content["state_dict"].items()) for content in contents]))
    kind.from_content({**first, "state_dict": weights}).save(to)
    return kind.__name__


def mean(streams: Sequence[NamedTensors]) -> Iterator[tuple[str, Tensor]]:
    """The mean of tensors by name, each as soon as all streams have given it, in the dtype of the first.

    Args:
        streams: Names and tensors of each model. Nothing is held while they come in the same order.

    Raises:
        ValueError: If a stream lacks a tensor.
    """
    sums: dict[str, tuple[int, Tensor, torch.dtype]] = {}
    for step in zip(*streams, strict=True):
        for name, tensor in step:
            count, total, dtype = sums.pop(name, (0, torch.zeros((), dtype=torch.float32), tensor.dtype))
            count, total = count + 1, total + tensor.float()
            if count == len(streams):
                yield name, (total / count).to(dtype)
            else:
                sums[name] = count, total, dtype
    if sums:
        raise ValueError(f"{min(sums)} is not in all of the {len(streams)} checkpoints.")


def compare(path: Path, first: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise ValueError if two checkpoints differ in what must agree.

    Args:
        path: The checkpoint that is compared.
        first: The first one.
        theirs: Traits of the compared one.
        ours: Traits of the first one.
    """
    for name in sorted({*theirs, *ours}):
        if theirs.get(name) != ours.get(name):
            shown = [value for value in (theirs.get(name), ours.get(name)) if isinstance(value, int | float | str)]
            values = f" ({shown[0]}, and not {shown[1]})" if len(shown) == 2 else ""
            raise ValueError(f"{path} and {first} differ in {name}{values}. Only models that agree in it have a mean.")


def traits_of_folder(folder: Path) -> dict[str, Any]:
    """What must agree of model folders: shape, positions, tokenizer and conditions."""
    table, tokenizer = folder / CONDITIONS_FILE, load_tokenizer(folder)
    return vars(read_size(folder)) | {
        "kind": "reward model" if layout_of(folder).endswith("reward") else "language model",
        "tokenizer": (tokenizer.pieces(), tokenizer.begin),
        CONDITIONS_FILE: table.read_bytes() if table.is_file() else None,
    }


def traits_of_training(content: Mapping[str, Any]) -> dict[str, Any]:
    """What must agree of training checkpoints: the module, how it is made, and the shape of each tensor."""
    from internlm2_core.training.steps import StepModule

    arguments = content.get(StepModule.CHECKPOINT_HYPER_PARAMS_KEY, {})
    made = {name: with_spelling(arguments.get(name)) for name in ("net", "tokenizer", "encoder")}
    shapes = {f"shape of {name}": str(tuple(tensor.shape)) for name, tensor in content["state_dict"].items()}
    return {"module": content.get("module"), **made, **shapes}


def with_spelling(described: Any) -> Any:
    """Described arguments with what a tokenizer spells in the place of its file: equal files may lie anywhere."""
    if isinstance(described, list):
        return [with_spelling(part) for part in described]
    if not isinstance(described, dict):
        return described
    if described.get("call") == {"name": "internlm2_core.text.tokenizer.load_tokenizer"}:
        tokenizer = load_tokenizer(described["keywords"]["mapping"]["path"])
        return tokenizer.pieces(), tokenizer.begin
    return {key: with_spelling(part) for key, part in described.items()}


def write_beside(source: Path, draft: Path) -> None:
    """Let the mean say of its use what the first model says.

    Args:
        source: The first model.
        draft: The folder that is written.
    """
    carry(source, draft)
    if (source / CONDITIONS_FILE).is_file():
        shutil.copyfile(source / CONDITIONS_FILE, draft / CONDITIONS_FILE)
