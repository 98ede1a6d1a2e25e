"""The store of one attempt, told apart from what attempts before it have left.

torchrun keeps one store over its restarts (torch 2.13), and a rank that starts early would read there the address of a
process that is dead. Its count of restarts does not tell attempts apart: each node counts its own, a node that joins
has counted none, and a restart because a node joins is not counted at all. So the ranks of an attempt meet first:

    rank 1 ── asks: a word that it has just drawn ──► rank 0
           ◄─ answer to this word: the name of the attempt ──
           ── heard: this word, this name ──► rank 0, which stops when it has heard of all
"""

import os
import time
import uuid
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

ATTEMPT = "INTERNLM2_ATTEMPT"
"""Names the attempt that this process belongs to, where torchrun has started it."""
POLL_S = 0.05


def fresh_store(rank: int, world_size: int, timeout: timedelta) -> dict[str, Any]:
    """A store without what an earlier attempt left in it, as an argument of ``init_process_group``.

    Args:
        rank: Index of this process.
        world_size: Number of ranks.
        timeout: How long ranks wait for each other.

    Returns:
        Nothing where each attempt has a store of its own.

    Raises:
        TimeoutError: If the ranks do not meet.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or dist.is_initialized():
        return {}
    store, _, _ = next(rendezvous("env://", rank, world_size, timeout=timeout))
    os.environ[ATTEMPT] = meet(store, rank, world_size, timeout)
    return {"store": PrefixStore(os.environ[ATTEMPT], store)}


def meet(store: Store, rank: int, world_size: int, timeout: timedelta) -> str:
    """A name that the ranks of this attempt have in common, and no other attempt has.

    Args:
        store: What attempts before have used too.
        rank: Index of this process.
        world_size: Number of ranks.
        timeout: How long ranks wait for each other.

    Raises:
        TimeoutError: If some do not come.
    """
    until = time.monotonic() + timeout.total_seconds()
    word = uuid.uuid4().hex
    if rank == 0:
        _answer_all(store, word, world_size, until)
        return word
    store.set(f"asks/{rank}", word)
    while not store.check([f"answer/{word}"]):
        _wait(until, f"Rank {rank} has not met rank 0")
    name = store.get(f"answer/{word}").decode()
    store.set(f"heard/{word}/{name}", "")
    return name


def _answer_all(store: Store, name: str, world_size: int, until: float) -> None:
    """Tell every rank the name. Words of earlier attempts are answered too, which nobody hears."""
    missing = set(range(1, world_size))
    while missing:
        for rank in sorted(missing):
            if not store.check([f"asks/{rank}"]):
                continue
            word = store.get(f"asks/{rank}").decode()
            store.set(f"answer/{word}", name)
            if store.check([f"heard/{word}/{name}"]):
                missing.remove(rank)
        if missing:
            _wait(until, f"Rank 0 has not met {len(missing)} of {world_size} ranks, rank {min(missing)} among them,")


def _wait(until: float, what: str) -> None:
    """A moment, unless time is over."""
    if time.monotonic() > until:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise TimeoutError(
            f"{what} in the store of torchrun at {where}. Where nodes come and go, set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 on each node before torchrun, which tells nodes of a store that is "
            "gone (torch 2.13)."
        )
    time.sleep(POLL_S)
