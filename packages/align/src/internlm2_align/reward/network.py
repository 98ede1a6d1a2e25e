"""The reward network: InternLM2's trunk with one scalar in place of the vocabulary.

Weight names are those of released reward checkpoints: ``model.*`` and ``v_head.weight`` [1, dim].

Shape suffixes: T stored tokens, D width, S conversations.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from internlm2_core.checkpoint import read_size, save_released
from internlm2_core.checkpoint.any_layout import read_model
from internlm2_core.checkpoint.configs import CONDITIONS_FILE
from internlm2_core.checkpoint.folder import allocated, fill_or_defer, tensor_files
from internlm2_core.checkpoint.llama import HEADS, released_name
from internlm2_core.nn.attend import default_attend
from internlm2_core.nn.init import Weights
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.segments import Segments
from internlm2_core.nn.transformer import Transformer, states_at
from internlm2_core.sizes import ModelSize
from torch import Tensor, nn

from internlm2_align.reward.conditions import ConditionTable
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
        """What attention needs to know of the row, or None where its positions say it all."""
        ...

    def apart(self) -> "Packed":
        """The row without a token that belongs to two documents."""
        ...


class RewardNetwork(nn.Module):
    """Trunk and scalar head.

    Args:
        size: Shape of the trunk, kept as ``size``.
        attend: Attention back end. None chooses one. It is wrapped so that prompts shared by replies are computed once.

    Attributes:
        initial_weights: As those of `internlm2_core.nn.language_model.LanguageModel`.
    """

    def __init__(self, size: ModelSize, attend: nn.Module | None = None) -> None:
        super().__init__()
        self.initial_weights: Weights | None = None
        self.size = size
        self.model = Transformer(size, SharedPromptAttend(attend or default_attend()))
        self.v_head = nn.Linear(size.dim, 1, bias=False)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.v_head.weight.device

    def forward(self, packed: Packed) -> Tensor:
        """Value at each of the row's places, float32 [S]: a score at a reply's last token, or what a critic expects."""
        if self.model.rope.is_dynamic:
            # Positions are scaled by the length of a document, so replies of two lengths need two prompts.
            packed = packed.apart()
        places_S = packed.places
        hidden = self.model(packed.input_ids, packed.position_ids, segments=packed.segments(), places_N=places_S)
        hidden_SD = states_at(hidden, places_S)
        # float32, whatever the Trainer's precision: bfloat16 has steps of 0.03 near the bounds of the barrier.
        with torch.autocast(hidden_SD.device.type, enabled=False):
            # Not a view of [S, 1]: FSDP puts hooks on what a network returns, and warns of views.
            return torch.mv(hidden_SD.float(), self.v_head.weight.float().flatten())


def from_language_model(net: LanguageModel, generator: torch.Generator | None = None) -> RewardNetwork:
    """A reward network around the trunk of a language model (shared, not copied), with a random head.

    Args:
        net: The SFT model. Its output head is dropped.
        generator: Source of the head's randomness, on the CPU.
    """
    dtype, device = net.output.weight.dtype, net.output.weight.device
    reward = RewardNetwork(net.size).to(dtype)
    reward.model.load_state_dict(net.model.state_dict(), assign=True)
    reward.v_head.weight.data = random_head(net.size, dtype, generator)
    return reward.to(device)


def random_head(size: ModelSize, dtype: torch.dtype, generator: torch.Generator | None) -> Tensor:
    """[1, dim] of N(0, 1 / (dim + 1)) as in Stiennon et al. 2020: scores start with a variance of about 1.

    Args:
        size: Shape of the trunk.
        dtype: Of the head.
        generator: Source of randomness, on the CPU.
    """
    head = torch.empty(1, size.dim, dtype=dtype, device="cpu")
    return head.normal_(0.0, (size.dim + 1) ** -0.5, generator=generator)


def start_reward(folder: str | Path, seed: int = 1) -> RewardNetwork:
    """A reward network to be trained: the trunk of a model folder of any layout and a random head.

    Its weights have torch's default dtype, which the Trainer's precision sets, not that of the folder.

    Args:
        folder: Of an SFT model, or of a reward model. Its own head is dropped.
        seed: Of the head.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If tensors do not fit, or it holds a model of another family.
    """
    size = read_size(folder)
    dtype = torch.get_default_dtype()
    head = random_head(size, dtype, torch.Generator().manual_seed(seed))

    def weights() -> Iterator[tuple[str, Tensor]]:
        yield from ((name, tensor) for name, tensor in read_model(folder) if name not in HEADS)
        yield "v_head.weight", head

    return _from_folder(folder, size, dtype, weights)


def load_reward(folder: str | Path) -> RewardNetwork:
    """A trained reward network from its folder, a sequence classifier in Llama's layout too.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If the folder holds a model without reward head. A head is never made up here.
    """
    folder = Path(folder)
    size = read_size(folder)
    check_reward(folder)
    _, first = next(iter(read_model(folder)))
    return _from_folder(folder, size, first.dtype, partial(read_model, folder))


def check_reward(folder: Path) -> None:
    """Refuse a folder without a reward head.

    Raises:
        FileNotFoundError: If the folder is not a model folder.
        ValueError: If it holds another model.
    """
    if "v_head.weight" not in map(released_name, tensor_files(folder)):
        raise ValueError(
            f"{folder} holds no v_head.weight (score.weight in Llama's layout), so it is not a reward model. Train one "
            f"from it with `internlm2 reward checkpoint={folder}`."
        )


def _from_folder(folder: str | Path, size: ModelSize, dtype: torch.dtype, weights: Weights) -> RewardNetwork:
    with torch.device("meta"):
        net = RewardNetwork(size)
    fill_or_defer(allocated(net.to(dtype)), weights, folder)
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
        folder: Where. An older one is replaced.
        size: Shape of the trunk.
        tensors: Whole weights by name.
        tokenizer_path: File or model folder whose tokenizer goes along.
        conditions: The table that it was trained with.
    """
    save_released(
        folder,
        size,
        tensors.items(),
        tokenizer_path,
        is_reward=True,
        beside=lambda draft: conditions.save(draft / CONDITIONS_FILE),
    )
