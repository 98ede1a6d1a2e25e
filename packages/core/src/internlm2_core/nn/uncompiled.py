"""Functions that compiled programs call as they are."""

import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


@cache
def disabled(function: Callable[P, R]) -> Callable[P, R]:
    """``torch.compiler.disable``, once a function."""
    return torch.compiler.disable(function)


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """As ``torch.compiler.disable``, which imports the whole compiler at once: two thirds of the time that torch takes.

    Args:
        function: Depends on what changes from batch to batch, such as the lengths of documents.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        is_needed = torch.compiler.is_compiling() or "torch._dynamo" in sys.modules
        return disabled(function)(*args, **kwargs) if is_needed else function(*args, **kwargs)

    call._torchdynamo_disable = True  # type: ignore[attr-defined]  # the compiler need not look inside
    return call
