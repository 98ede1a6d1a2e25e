"""The reward network: InternLM2's trunk with one scalar in place of the vocabulary.

Weight names are those of released reward checkpoints: ``model.*`` and ``v_head.weight`` [1, dim].

Shape suffixes: T stored tokens, D width, S conversations.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from internlm2_core.checkpoint import load_released, read_size, save_released
from internlm2_core.checkpoint.folder import (
    allocated,
    fill_or_defer,
    new_folder,
    read_names,
    read_tensors,
    tensor_files,
)
from internlm2_core.nn.attend import default_attend
from internlm2_core.nn.init import Weights
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.segments import Segments
from internlm2_core.nn.transformer import Transformer
from internlm2_core.sizes import ModelSize
from torch import Tensor, nn

from internlm2_align.reward.conditions import FILE_NAME, ConditionTable
from internlm2_align.reward.shared import SharedPromptAttend


class Packed(Protocol):
    """A row of tokens and where values are wanted."""

    @property
    def input_ids(self) -> Tensor:
        """[1, T] int64."""
        ...

    @property
    def position_ids(self) -> Tensor:
        """[1, T] int64."""
        ...

    @property
    def places(self) -> Tensor:
        """[S] int64."""
        ...

    def segments(self) -> Segments | None:
        """What attention needs to know of the row; None where its positions say it all."""
        ...


ARCHITECTURE = "InternLM2ForRewardModel"


class RewardNetwork(nn.Module):
    """Trunk and scalar head.

    Args:
        size: Shape of the trunk, kept as ``size``.
        attend: Attention back end; None chooses. It is wrapped so that prompts shared by replies are computed once.

    Attributes:
        initial_weights: As those of `internlm2_core.nn.language_model.LanguageModel`.
    """

    def __init__(self, size: ModelSize, attend: nn.Module | None = None) -> None:
        super().__init__()
        self.initial_weights: Weights | None = None
        self.size = size
        self.model = Transformer(size, SharedPromptAttend(attend or default_attend()))
        self.v_head = nn.Linear(size.dim, 1, bias=False)

    def forward(self, packed: Packed) -> Tensor:
        """Value at each of the row's places, float32 [S]: a score at a reply's last token, or what a critic expects."""
        hidden_1TD = self.model(packed.input_ids, packed.position_ids, segments=packed.segments())
        hidden_SD = hidden_1TD[0].index_select(0, packed.places)
        # float32, whatever the Trainer's precision: bfloat16 has steps of 0.03 near the bounds of the barrier.
        with torch.autocast(hidden_SD.device.type, enabled=False):
            return nn.functional.linear(hidden_SD.float(), self.v_head.weight.float()).squeeze(-1)


def from_language_model(net: LanguageModel, generator: torch.Generator | None = None) -> RewardNetwork:
    """A reward network around the trunk of a language model (shared, not copied), with a random head.

    The head is N(0, 1 / (dim + 1)) as in Stiennon et al. 2020: scores start with a variance of about 1.

    Args:
        net: The SFT model; its output head is dropped.
        generator: Source of the head's randomness, on the CPU.
    """
    reward = RewardNetwork(net.size).to(net.output.weight.dtype)
    reward.model.load_state_dict(net.model.state_dict(), assign=True)
    head = torch.empty(1, net.size.dim, dtype=net.output.weight.dtype, device="cpu")
    head.normal_(0.0, (net.size.dim + 1) ** -0.5, generator=generator)
    if (whole := net.initial_weights) is not None:

        def weights() -> Iterator[tuple[str, Tensor]]:
            yield from ((name, tensor) for name, tensor in whole() if name != "output.weight")
            yield "v_head.weight", head

        reward.initial_weights = weights
        return reward
    reward.v_head.weight.data = head
    return reward.to(net.output.weight.device)


def start_reward(folder: str | Path, seed: int = 1) -> RewardNetwork:
    """A reward network to be trained, from the folder of an SFT model: its trunk and a random head."""
    return from_language_model(load_released(folder), torch.Generator().manual_seed(seed))


def load_reward(folder: str | Path) -> RewardNetwork:
    """A trained reward network from its folder.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If the folder holds a model without reward head; a head is never made up here.
    """
    folder = Path(folder)
    size = read_size(folder)
    files = set(tensor_files(folder).values())
    if not any("v_head.weight" in read_names(file) for file in files):
        raise ValueError(
            f"{folder} holds no v_head.weight, so it is no reward model; train one from it with "
            f"`internlm2 reward checkpoint={folder}`."
        )
    with torch.device("meta"):
        net = RewardNetwork(size)
    first = next(tensor for name, tensor in read_tensors(folder) if name == "v_head.weight")
    fill_or_defer(allocated(net.to(first.dtype)), partial(read_tensors, folder), folder)
    return net


def save_reward(
    folder: str | Path,
    size: ModelSize,
    tensors: Mapping[str, Tensor],
    tokenizer_path: str | Path,
    conditions: ConditionTable,
) -> None:
    """Write a reward network in the released layout with its condition table beside it, as one atomic step.

    Args:
        folder: Where; an older one is replaced.
        size: Shape of the trunk.
        tensors: Whole weights by name.
        tokenizer_path: File or model folder whose tokenizer goes along.
        conditions: The table that it was trained with.
    """
    with new_folder(folder) as draft:
        save_released(draft, size, tensors.items(), tokenizer_path, architecture=ARCHITECTURE)
        conditions.save(draft / FILE_NAME)
