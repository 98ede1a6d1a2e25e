"""Packed documents of mixed length (fp32, CPU) against a loop over documents and against a mask over the row.

    OMP_NUM_THREADS=1 python tests/benchmarks/core/bench_packed.py [--waste 0.25] [--rounds 7] [--mask]

64 documents of 16 to 512 tokens in rows of 4,096; forward and backward of the small model; the losses are equal.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from internlm2_core.nn.attend import MaskedAttend, SDPAttend, sdpa
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.segments import Segments
from peers import SHAPES, show, take_turns
from torch import Tensor, nn

ROW = 4096


class LoopAttend(nn.Module):
    """One call of SDPA a document."""

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        parts = (x.flatten(0, 1).split(segments.lengths) for x in (q_BTNH, k_BTGH, v_BTGH))
        outs = [
            F.scaled_dot_product_attention(*(x.transpose(0, 1)[None] for x in qkv), is_causal=True, enable_gqa=True)
            for qkv in zip(*parts, strict=True)
        ]
        return torch.cat([out[0].transpose(0, 1) for out in outs]).unflatten(0, q_BTNH.shape[:2])


def documents(count: int, generator: torch.Generator) -> list[int]:
    """Lengths that fill whole rows: the last document of a row is cut where the row ends."""
    drawn = torch.randint(16, 513, (count,), generator=generator).tolist()
    lengths, room = [], ROW
    for length in drawn:
        lengths.append(min(length, room))
        room = room - lengths[-1] or ROW
    return lengths if room == ROW else [*lengths, room]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waste", type=float, default=sdpa.MAX_WASTE, help="padding allowed in a group")
    parser.add_argument("--mask", action="store_true", help="measure a mask over the row too (slow)")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    sdpa.MAX_WASTE = options.waste
    size, generator = SHAPES["small"][0], torch.Generator().manual_seed(1)
    lengths = documents(64, generator)
    positions = torch.cat([torch.arange(length) for length in lengths]).view(-1, ROW)
    ids = torch.randint(size.vocab_size, positions.shape, generator=generator)
    losses: dict[str, float] = {}

    def case(name: str, attend: nn.Module) -> Callable[[], None]:
        net = LanguageModel(size, attend)
        net.init_weights(torch.Generator().manual_seed(1))

        def run() -> None:
            net.zero_grad()
            loss = net(ids, positions, labels_BT=ids.roll(-1, 1)).cross_entropy / ids.numel()
            loss.backward()
            losses[name] = loss.item()

        return run

    attends = {"ours": SDPAttend(), "loop over documents": LoopAttend()}
    if options.mask:
        attends["mask"] = MaskedAttend()
    seconds = take_turns({name: case(name, attend) for name, attend in attends.items()}, options.rounds)
    show(
        {
            "documents": len(lengths),
            "tokens": ids.numel(),
            "padding_allowed": options.waste,
            "tokens_per_cpu_second": {name: round(ids.numel() / s) for name, s in seconds.items()},
            "speed_over_loop": {name: round(seconds["loop over documents"] / s, 3) for name, s in seconds.items()},
            "loss": losses,
        }
    )


if __name__ == "__main__":
    main()
