"""The language model: trunk plus untied head. Its weight names are those of the released checkpoints."""

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from internlm2_core.losses import TokenLosses, head_losses, liger_losses, target_logprobs
from internlm2_core.nn.cache import KeyValueCache
from internlm2_core.nn.init import STD, Weights, drawn_weights
from internlm2_core.nn.transformer import Transformer, states_at
from internlm2_core.sizes import ModelSize

HeadLoss = Literal["chunked", "liger"]

MAX_LOGITS, MIN_ROWS = 2**22, 512
"""Logits held at once unless asked otherwise, and the fewest positions of a chunk. Each chunk adds to the gradient of
the head, which is as large as the head: fewer positions would wait for memory."""


class LanguageModel(nn.Module):
    """InternLM2 for next-token prediction.

    Args:
        size: The model's shape, kept as ``size``.
        attend: Attention back end without weights. None takes the fastest on this machine.
        max_logits: Logits held at once while the loss is computed. Where there are more, they are computed in chunks.
            None holds 2**22 (16 MiB in fp32), or those of 512 positions where the vocabulary is larger.
        with_z_loss: Compute the z-loss beside the cross-entropy.
        head_loss: ``chunked`` as above, or ``liger`` for Liger's fused kernel (CUDA, without z-loss).

    Attributes:
        initial_weights: Gives the weights of a network on the meta device, for a strategy that fills what it keeps of
            them. None where the weights are in place.
    """

    def __init__(
        self,
        size: ModelSize,
        attend: nn.Module | None = None,
        max_logits: int | None = None,
        with_z_loss: bool = False,
        head_loss: HeadLoss = "chunked",
    ) -> None:
        super().__init__()
        self.initial_weights: Weights | None = None
        self.head_loss = head_loss
        self.size, self.with_z_loss = size, with_z_loss
        self.max_logits = max_logits or max(MAX_LOGITS, MIN_ROWS * size.vocab_size)
        self.model = Transformer(size, attend)
        self.output = nn.Linear(size.dim, size.vocab_size, bias=False)

    def init_weights(
        self, generator: torch.Generator | None = None, std: float = STD, embedding_std: float | None = None
    ) -> None:
        """Draw the random weights that the recipe starts from. The arguments are those of `drawn_weights`."""
        weights = dict(self.named_parameters())
        with torch.no_grad():
            for name, value in drawn_weights(weights, self.size.layers, generator, std, embedding_std):
                weights[name].copy_(value)

    def set_positions(self, **fields: Any) -> None:
        """Read the same weights with another RoPE or trained length, as a new phase wants.

        Args:
            fields: Fields of `ModelSize`, such as ``rope_base`` and ``max_positions``.
        """
        self.size = self.model.rope.size = replace(self.size, **fields)

    def forward(
        self,
        input_ids_BT: Tensor,
        position_ids_BT: Tensor | None = None,
        labels_BT: Tensor | None = None,
        cache: KeyValueCache | None = None,
        places_N: Tensor | None = None,
        targets_N: Tensor | None = None,
        temperature: float = 1.0,
        with_entropy: bool = False,
        with_greedy: bool = False,
    ) -> Tensor | TokenLosses:
        """Logits, losses of labels, or log-probabilities of tokens. The last two never hold all logits.

        Everything goes through this one call, since strategies gather weights when it begins.

        Args:
            input_ids_BT: Token ids, [B, T] int64.
            position_ids_BT: Positions, [B, T] int64, restarting at each packed document. None reads each row as one
                document.
            labels_BT: Labels, [B, T] int64, shifted, where -100 carries no loss.
            cache: Earlier keys and values, for generation.
            places_N: Indices into the B * T positions, [N] int64. Nothing is computed elsewhere.
            targets_N: Tokens whose log-probability at those places is wanted, [N] int64.
            temperature: Divides the logits of log-probabilities, as sampling does.
            with_entropy: Give the entropies at those places beside the log-probabilities.
            with_greedy: Say beside them whether each token is the most probable one, 1 or 0.

        Returns:
            With labels, `TokenLosses`. With places and targets, log-probabilities in nats, [N], and below them rows of
            what else is asked for. With places alone, logits [N, V]. Otherwise all logits, [B, T, V].

        Raises:
            ValueError: If Liger's loss is asked for a z-loss.
        """
        read_N = places_N if labels_BT is None else None
        hidden_BTD = self.model(input_ids_BT, position_ids_BT, cache, places_N=read_N)
        if labels_BT is not None and self.head_loss == "liger":
            if self.with_z_loss:
                raise ValueError("head_loss='liger' has no z-loss: z_loss must be 0, or head_loss 'chunked'.")
            return liger_losses(hidden_BTD.flatten(0, 1), self.output, labels_BT.flatten())
        if labels_BT is not None:
            return head_losses(hidden_BTD, self.output, labels_BT, self.max_logits, self.with_z_loss)
        if places_N is None:
            return self.output(hidden_BTD)
        hidden_ND = states_at(hidden_BTD, places_N)
        if targets_N is None:
            return self.output(hidden_ND)
        return target_logprobs(
            hidden_ND, self.output, targets_N, self.max_logits, temperature, with_entropy, with_greedy
        )
