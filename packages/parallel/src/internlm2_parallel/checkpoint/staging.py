"""Copies of a state from which a checkpoint is written while training continues.

Weights and moments stay as they are until the next optimizer step. So they are copied in the background during the
forward and backward pass, and only that step waits, if it comes before the copies are made. The memory of the copies is
kept for the next checkpoint: on the host, and pinned where the state is on a GPU.
"""

import copy
from collections.abc import Collection, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

State = dict[str, dict[str, Any]]
Pair = tuple[Tensor, Tensor]


class Staging:
    """Memory for one copy of a state. A second copy must wait until the first one is written."""

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._copied: Future[None] | None = None

    def begin(self, state: State, changing: Collection[str]) -> State:
        """Begin to copy. The result is whole once `wait` returns.

        Args:
            state: Tensors and plain values by kind (``weights``, ``optimizer_N``) and name.
            changing: Names of ``weights`` that a forward pass may change, such as buffers. They are copied at once.

        Returns:
            The state on the host.
        """
        self.settle()
        staged: State = {kind: {} for kind in state}
        pairs: dict[bool, list[Pair]] = {True: [], False: []}
        for kind, entries in state.items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    memory = self._memory_for(f"{kind}.{name}", local(value))
                    staged[kind][name] = in_place_of(value, memory)
                    pairs[kind == "weights" and name in changing].append((memory, value))
                else:
                    staged[kind][name] = copy.deepcopy(value)
        copy_all(pairs[True], None)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-staging")
        later = pairs[False]
        versions = [value._version for _, value in later]
        self._copied = self._thread.submit(copy_unchanged, later, versions, side_stream(later))
        return staged

    def settle(self) -> None:
        """Until the state may change. Whether the copy is whole says `wait`."""
        if self._copied is not None:
            futures.wait([self._copied])

    def wait(self) -> None:
        """Until everything is copied.

        Raises:
            OSError: If something was changed meanwhile.
        """
        if self._copied is not None:
            self._copied.result()

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """A hook of optimizers: wait before weights change. A closure, as Lightning's, computes gradients first.

        Args:
            optimizer: About to step.
            args: Of ``step``.
            kwargs: Of ``step``.

        Returns:
            Both, the closure changed.
        """
        if (closure := kwargs.get("closure")) is None:
            self.settle()
            return args, kwargs

        def then_settle() -> Any:
            result = closure()
            self.settle()
            return result

        return args, {**kwargs, "closure": then_settle}

    def _memory_for(self, name: str, source: Tensor) -> Tensor:
        memory = self._memory.get(name)
        if memory is None or memory.shape != source.shape or memory.dtype != source.dtype:
            memory = torch.empty(source.shape, dtype=source.dtype, device="cpu", pin_memory=source.is_cuda)
            self._memory[name] = memory
        return memory


def local(value: Tensor) -> Tensor:
    """This rank's part of a tensor, without a copy."""
    return value._local_tensor if isinstance(value, DTensor) else value


def in_place_of(value: Tensor, memory: Tensor) -> Tensor:
    """A tensor on the host that is split as another one.

    Args:
        value: [...], perhaps a DTensor on a mesh of GPUs.
        memory: This rank's part, [...], on the host.
    """
    return DTensor(memory, value._spec, requires_grad=False) if isinstance(value, DTensor) else memory


def side_stream(pairs: Sequence[Pair]) -> torch.cuda.Stream | None:
    """A stream that begins after all that was asked of the GPU so far. None where nothing is on a GPU."""
    device = next((local(value).device for _, value in pairs if local(value).is_cuda), None)
    if device is None:
        return None
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return stream


@torch.no_grad()
def copy_all(pairs: Sequence[Pair], stream: torch.cuda.Stream | None) -> None:
    """Copy, in one call, which does not hold the interpreter's lock.

    Args:
        pairs: Memory and what is copied into it.
        stream: Of the GPU.
    """
    if not pairs:
        return
    with torch.cuda.stream(stream) if stream is not None else nullcontext():
        memory, sources = [memory for memory, _ in pairs], [local(value).detach() for _, value in pairs]
        torch._foreach_copy_(memory, sources, non_blocking=stream is not None)
    if stream is not None:
        stream.synchronize()


def copy_unchanged(pairs: Sequence[Pair], versions: Sequence[int], stream: torch.cuda.Stream | None) -> None:
    """Copy what must not change meanwhile.

    Args:
        pairs: Memory and what is copied into it.
        versions: How often each tensor had been changed before.
        stream: Of the GPU.

    Raises:
        OSError: If it changed.
    """
    copy_all(pairs, stream)
    if [value._version for _, value in pairs] != list(versions):
        raise OSError(
            "weights or moments were changed before the next optimizer step, as a callback may that averages weights. "
            "asynchronous=True needs them unchanged until then"
        )
