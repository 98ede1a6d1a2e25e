"""What of a network torch.compile turns into programs."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch
from torch import nn

from internlm2_core.nn.language_model import LanguageModel

Compile = Literal["none", "blocks", "net"]
"""Nothing, each block alone, or everything from ids to the loss. Attention over packed documents stays as it is."""


def compile_network(net: LanguageModel, what: Compile) -> None:
    """Compile in place at the first call. The names of the weights do not change.

    Args:
        net: The network, its blocks wrapped already where they are to be recomputed.
        what: See `Compile`.

    Raises:
        ValueError: If ``what`` is another word.
    """
    if what not in get_args(Compile):
        raise ValueError(f"compile={what!r} must be one of {', '.join(get_args(Compile))}.")
    parts: dict[Compile, list[nn.Module]] = {"none": [], "blocks": list(net.model.layers), "net": [net]}
    for module in parts[what]:
        module.compile()


def as_written(net: nn.Module) -> AbstractContextManager[object]:
    """Inside, a compiled network runs as Python. A cache that grows at each token would be compiled again and again."""
    if any(module._compiled_call_impl is not None for module in net.modules()):
        return torch.compiler.set_stance("force_eager")
    return nullcontext()
