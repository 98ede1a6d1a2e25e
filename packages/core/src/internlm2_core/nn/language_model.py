"""The language model: trunk plus untied head. Its weight names are those of the released checkpoints."""

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from internlm2_core.losses import TokenLosses, head_losses, liger_losses, target_logprobs
from internlm2_core.nn.cache import KeyValueCache
from internlm2_core.nn.init import STD, Weights, init_weights
from internlm2_core.nn.transformer import Transformer
from internlm2_core.sizes import ModelSize

HeadLoss = Literal["chunked", "liger"]


class LanguageModel(nn.Module):
    """InternLM2 for next-token prediction.

    Args:
        size: the model's shape, kept as ``size``.
        attend: attention back end; None chooses.
        max_logits: logits held at once while the loss is computed; more are computed in chunks and recomputed in
            the backward pass. 2**27 fp32 logits are 512 MiB.
        with_z_loss: compute the z-loss beside the cross-entropy.
        head_loss: ``chunked`` as above, or ``liger`` for Liger's fused kernel (CUDA, without z-loss).

    Attributes:
        initial_weights: where the weights are on the meta device, what they shall be: a strategy fills what it keeps of
            them. None where they are in place.
    """

    def __init__(
        self,
        size: ModelSize,
        attend: nn.Module | None = None,
        max_logits: int = 2**27,
        with_z_loss: bool = False,
        head_loss: HeadLoss = "chunked",
    ) -> None:
        super().__init__()
        self.initial_weights: Weights | None = None
        self.head_loss = head_loss
        self.size, self.max_logits, self.with_z_loss = size, max_logits, with_z_loss
        self.model = Transformer(size, attend)
        self.output = nn.Linear(size.dim, size.vocab_size, bias=False)

    def init_weights(
        self, generator: torch.Generator | None = None, std: float = STD, embedding_std: float | None = None
    ) -> None:
        """Random weights as the recipe starts from; see :func:`~internlm2_core.nn.init.init_weights`."""
        init_weights(self, self.size.layers, generator, std, embedding_std)

    def set_positions(self, **fields: Any) -> None:
        """Read the same weights with another RoPE or trained length, as a new phase wants.

        Args:
            fields: of :class:`~internlm2_core.sizes.ModelSize`, such as ``rope_base`` and ``max_positions``.
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
    ) -> Tensor | TokenLosses:
        """Logits; or the losses of labels, or log-probabilities of tokens, without ever holding all logits.

        Everything goes through this one call, since strategies gather weights when it begins.

        Args:
            input_ids_BT: [B, T] int64.
            position_ids_BT: [B, T] int64, restarting at each packed document; None: each row is one document.
            labels_BT: [B, T] int64, shifted, -100 where there is no loss.
            cache: earlier keys and values, for generation.
            places_N: [N] int64 indices into the B * T positions; nothing is computed at others.
            targets_N: [N] int64 tokens whose log-probability at those places is wanted.

        Returns:
            Logits [B, T, V]; :class:`~internlm2_core.losses.TokenLosses` when labels are given; logits [N, V] with
            places; log-probabilities [N] in nats with places and targets.
        """
        hidden_BTD = self.model(input_ids_BT, position_ids_BT, cache)
        if labels_BT is not None and self.head_loss == "liger":
            if self.with_z_loss:
                raise ValueError("Liger's kernel has no z-loss here; set module.z_loss=0 or model.head_loss=chunked.")
            return liger_losses(hidden_BTD.flatten(0, 1), self.output, labels_BT.flatten())
        if labels_BT is not None:
            return head_losses(hidden_BTD, self.output, labels_BT, self.max_logits, self.with_z_loss)
        if places_N is None:
            return self.output(hidden_BTD)
        hidden_ND = hidden_BTD.flatten(0, 1).index_select(0, places_N)
        if targets_N is None:
            return self.output(hidden_ND)
        return target_logprobs(hidden_ND, self.output, targets_N, self.max_logits)
