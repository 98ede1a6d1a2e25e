"""The trunk: embedding, blocks, last norm. The language model and the reward model each put a head on it."""

import torch
from torch import Tensor, nn

from internlm2_core.nn.attend import default_attend
from internlm2_core.nn.block import Block
from internlm2_core.nn.cache import KeyValueCache
from internlm2_core.nn.rope import Rope
from internlm2_core.nn.segments import Segments
from internlm2_core.sizes import ModelSize


class Transformer(nn.Module):
    """InternLM2 without a head: LLaMA's layout, pre-norm, no biases (report section 2.2).

    Args:
        size: The model's shape.
        attend: Attention back end without weights. None takes the fastest on this machine.
    """

    def __init__(self, size: ModelSize, attend: nn.Module | None = None) -> None:
        super().__init__()
        attend = attend or default_attend()
        self.tok_embeddings = nn.Embedding(size.vocab_size, size.dim)
        self.layers = nn.ModuleList(Block(size, attend) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.dim, eps=size.norm_eps)
        self.rope = Rope(size)

    segments_of = staticmethod(Segments.of_positions)

    def forward(
        self,
        input_ids_BT: Tensor,
        position_ids_BT: Tensor | None = None,
        cache: KeyValueCache | None = None,
        segments: Segments | None = None,
        places_N: Tensor | None = None,
    ) -> Tensor:
        """Hidden states after the last norm.

        Where some are read alone, the last block computes keys and values of all tokens, and the rest at those.
        `states_at` reads what comes back.

        Args:
            input_ids_BT: Token ids, [B, T] int64.
            position_ids_BT: Positions, [B, T] int64, restarting at 0 at each packed document. None reads each row as
                one document.
            cache: Earlier keys and values, extended in place by these tokens. Positions then follow the stored ones.
            segments: The documents, if the caller knows them already.
            places_N: Indices into the B * T tokens whose states are read, [N] int64. A strategy that splits tokens over
                ranks takes them away.

        Returns:
            The states, [B, T, D]. With places those at them, [N, D].
        """
        B, T = input_ids_BT.shape
        device = input_ids_BT.device
        if cache is not None and position_ids_BT is None:
            position_ids_BT = cache.next_positions(T)
        if segments is None:
            if position_ids_BT is None or cache is not None:
                segments = Segments.whole_rows(B, T, device)
            else:
                segments = self.segments_of(position_ids_BT)
        if position_ids_BT is None:
            position_ids_BT = torch.arange(T, device=device).expand(B, T)
        lengths = None
        if self.rope.is_dynamic:
            lengths = segments.lengths_of_tokens if cache is None else cache.lengths_of_rows(T)
        rotation = self.rope(position_ids_BT, lengths)
        x_BTD = self.tok_embeddings(input_ids_BT)
        for index, block in enumerate(self.layers):
            read_N = places_N if index == len(self.layers) - 1 else None
            x_BTD = block(x_BTD, rotation, segments, cache.layer(index) if cache is not None else None, read_N)
        if cache is not None:
            cache.advance(T)
        return self.norm(x_BTD) if places_N is None else self.norm(x_BTD)[0]


def states_at(hidden: Tensor, places_N: Tensor) -> Tensor:
    """The states at some places, [N, D].

    Args:
        hidden: What a trunk gives for them: [N, D], or all states, [B, T, D], where tokens are split over ranks.
        places_N: Indices into the B * T tokens, [N] int64.
    """
    return hidden if hidden.ndim == 2 else hidden.flatten(0, 1).index_select(0, places_N)
