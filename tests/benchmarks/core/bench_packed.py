"""Packed documents (fp32, CPU) against a loop over documents and against a mask over the row.

    OMP_NUM_THREADS=1 python tests/benchmarks/core/bench_packed.py [--rounds 15] [--mixes 8-24 16-64 ...] [--mask] [--net]

Rows of 4,096 tokens filled with documents whose lengths are drawn evenly from each mix; forward and backward of the
attention of one block, or with --net of the whole small model. The losses are equal. --limits measures other limits
below which a document joins a group, which is how `sdpa.SHORT` was chosen.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from internlm2_core.nn.attend import MaskedAttend, SDPAttend, sdpa
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.segments import Segments
from peers import SHAPES, ratio, show, take_turns
from torch import Tensor, nn

ROW, SIZE = 4096, SHAPES["small"][0]
LOOP = "loop over documents"


class LoopAttend(nn.Module):
    """One call of SDPA a document."""

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        parts = (x.flatten(0, 1).split(segments.lengths) for x in (q_BTNH, k_BTGH, v_BTGH))
        outs = [
            F.scaled_dot_product_attention(*(x.transpose(0, 1)[None] for x in qkv), is_causal=True, enable_gqa=True)
            for qkv in zip(*parts, strict=True)
        ]
        return torch.cat([out[0].transpose(0, 1) for out in outs]).unflatten(0, q_BTNH.shape[:2])


class LimitedAttend(SDPAttend):
    """Ours with another limit, in tokens."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit * SIZE.num_q_heads * SIZE.head_dim

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        before, sdpa.SHORT = sdpa.SHORT, self.limit
        try:
            return super().forward(q_BTNH, k_BTGH, v_BTGH, segments)
        finally:
            sdpa.SHORT = before


def documents(mix: str) -> list[int]:
    """Lengths that fill a row. The last document is cut where the row ends."""
    shortest, longest = map(int, mix.split("-"))
    generator, lengths, room = torch.Generator().manual_seed(1), [], ROW
    while room:
        drawn = int(torch.randint(shortest, longest + 1, (), generator=generator))
        lengths.append(min(drawn, room))
        room -= lengths[-1]
    return lengths


def attention(attend: nn.Module, lengths: list[int]) -> Callable[[], None]:
    """Forward and backward of the attention of one block."""
    segments = Segments(tuple(lengths), 1, torch.device("cpu"))
    heads = (SIZE.num_q_heads, SIZE.num_kv_heads, SIZE.num_kv_heads)
    qkv = [torch.randn(1, ROW, n, SIZE.head_dim, requires_grad=True) for n in heads]
    return lambda: torch.autograd.backward(attend(*qkv, segments).sum())


def network(attend: nn.Module, lengths: list[int]) -> Callable[[], None]:
    """Forward, loss and backward of the small model."""
    net = LanguageModel(SIZE, attend)
    net.init_weights(torch.Generator().manual_seed(1))
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    ids = torch.randint(SIZE.vocab_size, positions.shape, generator=torch.Generator().manual_seed(1))
    return lambda: net(ids, positions, labels_BT=ids.roll(-1, 1)).cross_entropy.backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixes", nargs="+", default=["8-24", "16-64", "32-64", "64-64", "64-128", "16-512"])
    parser.add_argument("--limits", nargs="*", type=int, default=[], help="other limits to measure, in tokens")
    parser.add_argument("--mask", action="store_true", help="measure a mask over the row too (slow)")
    parser.add_argument("--net", action="store_true", help="measure the whole small model")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    attends = {"ours": SDPAttend(), LOOP: LoopAttend()} | ({"mask": MaskedAttend()} if options.mask else {})
    attends |= {f"ours, up to {limit} tokens": LimitedAttend(limit) for limit in options.limits}
    speeds = {}
    for mix in options.mixes:
        lengths = documents(mix)
        make = network if options.net else attention
        seconds = take_turns({name: make(attend, lengths) for name, attend in attends.items()}, options.rounds)
        speeds[mix] = {name: ratio(seconds[LOOP], found) for name, found in seconds.items() if name != LOOP}
    show({"tokens": ROW, "of": "network" if options.net else "attention", "speed_over_loop_by_lengths": speeds})


if __name__ == "__main__":
    main()
