"""What a training run starts from: random weights, or a model folder."""

import logging
from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor

from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.checkpoint.folder import fill_or_defer
from internlm2_core.checkpoint.released import read_size
from internlm2_core.nn.attend import AttendLike, attend_of
from internlm2_core.nn.init import STD, drawn_weights
from internlm2_core.nn.language_model import HeadLoss, LanguageModel
from internlm2_core.nn.split import split_projections
from internlm2_core.sizes import ModelSize

log = logging.getLogger(__name__)


def start_model(
    size: ModelSize,
    init_from: str | None = None,
    seed: int = 1,
    attend: AttendLike = "auto",
    max_logits: int | None = None,
    std: float = STD,
    embedding_std: float | None = None,
    head_loss: HeadLoss = "chunked",
    is_split: bool = False,
) -> LanguageModel:
    """A language model to train. Inside ``torch.device("meta")`` its weights are left to a strategy to fill.

    Weights have torch's default dtype, which the Trainer's precision sets, whatever that of the folder is. Most steps
    of training are too small for bfloat16.

    Args:
        size: The shape. With ``init_from`` its positions (RoPE, trained length) are taken and the rest must agree.
        init_from: A model folder in released or Llama layout. None starts from random weights.
        seed: Seed of the random weights.
        attend: The attention back end: a name, a module or a function, see `attend_of`.
        max_logits: See `LanguageModel`.
        std: See `drawn_weights`.
        embedding_std: See `drawn_weights`.
        head_loss: See `LanguageModel`.
        is_split: Use three projections instead of the fused one, see `internlm2_core.nn.split`.

    Raises:
        ValueError: If the folder holds a model of another shape, or ``head_loss`` or ``attend`` is not known.
    """
    if head_loss not in get_args(HeadLoss):
        raise ValueError(f"head_loss={head_loss!r} must be one of {', '.join(get_args(HeadLoss))}.")
    module = attend_of(attend)
    if init_from is None:
        net = LanguageModel(size, module)
        like = dict(net.named_parameters())

        def weights() -> Iterator[tuple[str, Tensor]]:
            return drawn_weights(like, size.layers, torch.Generator("cpu").manual_seed(seed), std, embedding_std)

        fill_or_defer(net, weights, "seed")
    else:
        net = load_model(init_from, module, size, torch.get_default_dtype())
        for name, value in vars(size).items():
            if getattr(net.size, name) != value:
                raise ValueError(f"{name}={value} must be {getattr(net.size, name)}, as in {init_from}.")
        own = vars(read_size(init_from))
        if changed := [
            f"{name}={value} (it has {own[name]})" for name, value in vars(size).items() if value != own[name]
        ]:
            log.info("%s is read with %s", init_from, ", ".join(changed))
    net.max_logits, net.head_loss = max_logits or net.max_logits, head_loss
    if is_split:
        split_projections(net)
    return net
