"""Between a sharded folder and one file of plain Lightning, both ways."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from internlm2_parallel.checkpoint.folder import completed
from internlm2_parallel.tensor import shard_of


def as_one_file(folder: str | Path, file: str | Path) -> None:
    """Join a sharded checkpoint into the single file that plain Lightning loads (``strategy=single``).

    Args:
        folder: A sharded checkpoint.
        file: The new file.

    Raises:
        FileNotFoundError: If ``folder`` is not a whole checkpoint.
    """
    folder = Path(folder)
    if not completed(folder):
        raise FileNotFoundError(f"{folder} is not a whole sharded checkpoint.")
    state = _load_state_dict_from_keys(checkpoint_id=folder)
    checkpoint = torch.load(folder / "trainer.pt", weights_only=True)
    names: list[list[list[str]]] = checkpoint.pop("weight_names")
    checkpoint["state_dict"] = state["weights"]
    checkpoint["optimizer_states"] = [
        numbered(state[f"optimizer_{index}"], groups) for index, groups in enumerate(names)
    ]
    torch.save(checkpoint, file)


def numbered(flat: dict[str, Any], groups: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Optimizer state by weight number in groups, torch's own format, from state by weight name.

    Args:
        flat: State and settings by kind, weight name and field.
        groups: Weight names of each parameter group.
    """
    order = [name for group in groups for name in group]
    fields = {name: {} for name in order}  # type: dict[str, dict[str, Any]]
    settings = {name: {} for name in order}  # type: dict[str, dict[str, Any]]
    for key, value in flat.items():
        kind, _, rest = key.partition(".")
        name, _, field = rest.rpartition(".")
        (fields if kind == "state" else settings)[name][field] = value
    first = 0
    param_groups = []
    for group in groups:
        param_groups.append({**settings[group[0]], "params": list(range(first, first + len(group)))})
        first += len(group)
    return {"state": {number: fields[name] for number, name in enumerate(order)}, "param_groups": param_groups}


def set_whole_state(module: nn.Module, optimizers: Sequence[Optimizer], checkpoint: dict[str, Any]) -> None:
    """Put the state of a single file into a split module. Every rank reads the file.

    Args:
        module: The LightningModule.
        optimizers: Optimizers over its weights, in the order of the file's.
        checkpoint: Lightning's dictionary with whole tensors.
    """
    set_model_state_dict(module, checkpoint["state_dict"], options=StateDictOptions(full_state_dict=True))
    for optimizer, state in zip(optimizers, checkpoint.get("optimizer_states", []), strict=False):
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for number, fields in state["state"].items():
            weight = weights[int(number)]
            optimizer.state[weight] = {name: like(value, weight) for name, value in fields.items()}
        for group, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
            group.update({name: value for name, value in saved.items() if name != "params"})


def like(value: Any, weight: Tensor) -> Any:
    """A field of optimizer state, split as its weight is if it has the weight's shape.

    Args:
        value: A whole tensor, or anything else.
        weight: [*], perhaps a DTensor.
    """
    if not isinstance(value, Tensor) or value.shape != weight.shape or not isinstance(weight, DTensor):
        return value
    local = shard_of(value.to(weight.device), weight)
    return DTensor.from_local(local, weight.device_mesh, weight.placements, shape=weight.shape, stride=weight.stride())
