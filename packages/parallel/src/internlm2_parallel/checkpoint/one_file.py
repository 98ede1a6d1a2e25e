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
from internlm2_parallel.checkpoint.state import weights_of
from internlm2_parallel.names import named_weights
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
    names: list[list[list[str]]] = checkpoint["weight_names"]
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
    some = next((group for group in groups if group), [])
    for group in groups:  # One without weights had settings that nothing says.
        param_groups.append({**settings[(group or some)[0]], "params": list(range(first, first + len(group)))})
        first += len(group)
    return {"state": {number: fields[name] for number, name in enumerate(order)}, "param_groups": param_groups}


def set_whole_state(
    module: nn.Module,
    optimizers: Sequence[Optimizer],
    checkpoint: dict[str, Any],
    names: Sequence[Sequence[Sequence[str]]],
    strict: bool,
) -> None:
    """Put the state of a single file into a split module. Every rank reads the file.

    Args:
        module: The LightningModule.
        optimizers: Optimizers over its weights, in the order of the file's.
        checkpoint: Lightning's dictionary with whole tensors.
        names: Weight names of the groups of each optimizer, over all stages.
        strict: Whether all weights of this rank must be there.
    """
    own, place = dict(named_weights(module)), {name: at for at, name in enumerate(checkpoint["state_dict"])}
    here = weights_of(module)
    weights = {name: weight for name, weight in checkpoint["state_dict"].items() if name in here}
    set_model_state_dict(module, weights, options=StateDictOptions(full_state_dict=True, strict=strict))
    # A file of plain Lightning has numbers and no names. They count the weights of the whole network in its order.
    is_plain = "weight_names" not in checkpoint
    every = checkpoint.get("weight_names", names)
    for optimizer, state, groups in zip(optimizers, checkpoint.get("optimizer_states", []), every, strict=False):
        for group, saved, members in zip(optimizer.param_groups, state["param_groups"], groups, strict=True):
            has_others = is_plain and len(members) > len(group["params"])
            ordered = sorted(members, key=lambda name: place.get(name, 0)) if has_others else members
            for number, name in zip(saved["params"], ordered, strict=True):
                if (weight := own.get(name)) is not None and number in state["state"]:
                    fields = state["state"][number].items()
                    optimizer.state[weight] = {field: like(value, weight) for field, value in fields}
            group.update({field: value for field, value in saved.items() if field != "params"})


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
