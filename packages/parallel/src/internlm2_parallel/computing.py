"""What surrounds the steps that Lightning asks a strategy to compute."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any

import torch


def computing(method: Callable[..., Any]) -> Any:
    """The method of Lightning, inside the context that split matrices compute in."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.tensor_context if self.layout.tensor > 1 else nullcontext():
            return method(self, *args, **kwargs)

    return call


def evaluating(method: Callable[..., Any]) -> Any:
    """The same without gradients, and never in inference mode, which Lightning evaluates in where collectives are nccl.

    Weights that are gathered in inference mode cannot be trained on afterwards.
    """

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode(mode=False), torch.no_grad():
            return method(self, *args, **kwargs)

    return computing(call)
