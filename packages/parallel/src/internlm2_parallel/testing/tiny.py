"""A small network with the released names and a LightningModule around it, for tests without the core package.

Legend: B rows, T tokens, D width, N query heads, G kv groups, H head width.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from internlm2_parallel.clipping import global_norm
from internlm2_parallel.ranks import data_parallel_of
from internlm2_parallel.search.plans import Kept
from internlm2_parallel.search.sizes import Sizes
from internlm2_parallel.strategy import MeshStrategy
from internlm2_parallel.testing.batches import TinyBatches, split
from internlm2_parallel.testing.blocks import keep_only


@dataclass(frozen=True)
class TinySize(Sizes):
    """Sizes of the network, under the names that a layout is checked against."""

    name: str = "tiny"
    layers: int = 4
    dim: int = 32
    num_kv_heads: int = 4
    q_per_kv: int = 2
    ffn_dim: int = 64
    vocab_size: int = 96
    head_dim: int = 8

    def matrix_flops_per_token(self) -> float:
        """6 per weight of a matrix that is multiplied."""
        with torch.device("meta"):
            weights = TinyLlama(self).named_parameters()
        return 6.0 * sum(w.numel() for name, w in weights if w.ndim == 2 and "tok_embeddings" not in name)


class TinySegments:
    """Documents of a batch.

    Args:
        position_ids_BT: [B, T] int64, restarting at 0 at each document.
    """

    def __init__(self, position_ids_BT: Tensor) -> None:
        starts_BT = position_ids_BT == 0
        starts_BT[:, 0] = True
        self.document_ids = starts_BT.flatten().cumsum(0).view_as(starts_BT) - 1


class _Attend(nn.Module):
    """Causal attention inside documents, by a dense mask."""

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Any) -> Tensor:
        """``segments`` carries ``document_ids`` [B, T]."""
        ids, T = segments.document_ids, q_BTNH.shape[1]
        mask = (ids[:, :, None] == ids[:, None, :]) & torch.ones(T, T, dtype=torch.bool).tril()
        q, k, v = (x.transpose(1, 2) for x in (q_BTNH, k_BTGH, v_BTGH))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None], enable_gqa=True).transpose(1, 2)


class _Attention(nn.Module):
    """Fused, interleaved projection. Local head counts are read off the weight."""

    def __init__(self, size: TinySize) -> None:
        super().__init__()
        self.q_per_kv, self.head_dim, self.attend = size.q_per_kv, size.head_dim, _Attend()
        self.wqkv = nn.Linear(size.dim, size.num_kv_heads * (size.q_per_kv + 2) * size.head_dim, bias=False)
        self.wo = nn.Linear(size.num_kv_heads * size.q_per_kv * size.head_dim, size.dim, bias=False)

    def forward(self, x_BTD: Tensor, positions_BT: Tensor, segments: Any) -> Tensor:
        """Mix tokens."""
        qkv = self.wqkv(x_BTD).unflatten(-1, (-1, self.q_per_kv + 2, self.head_dim))
        q_BTNH, k_BTGH, v_BTGH = qkv[..., :-2, :].flatten(2, 3), qkv[..., -2, :], qkv[..., -1, :]
        out = self.attend(_rotated(q_BTNH, positions_BT), _rotated(k_BTGH, positions_BT), v_BTGH, segments)
        return self.wo(out.flatten(2))


def _rotated(x_BTNH: Tensor, positions_BT: Tensor) -> Tensor:
    """Rotary positions of base 10,000, angles in fp32."""
    H = x_BTNH.shape[-1]
    angles = positions_BT[..., None].float() * 10000.0 ** (-torch.arange(0, H, 2, dtype=torch.float32) / H)
    cos, sin = (angle[:, :, None].to(x_BTNH.dtype) for angle in (angles.cos(), angles.sin()))
    first, second = x_BTNH.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class _FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, size: TinySize) -> None:
        super().__init__()
        self.w1 = nn.Linear(size.dim, size.ffn_dim, bias=False)
        self.w3 = nn.Linear(size.dim, size.ffn_dim, bias=False)
        self.w2 = nn.Linear(size.ffn_dim, size.dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Apply to the last dimension."""
        return self.w2(F.silu(self.w1(x_BTD)) * self.w3(x_BTD))


class _Block(nn.Module):
    """Pre-norm block."""

    def __init__(self, size: TinySize) -> None:
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.RMSNorm(size.dim, eps=1e-5), nn.RMSNorm(size.dim, eps=1e-5)
        self.attention, self.feed_forward = _Attention(size), _FeedForward(size)

    def forward(self, x_BTD: Tensor, positions_BT: Tensor, segments: Any) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), positions_BT, segments)
        return x_BTD + self.feed_forward(self.ffn_norm(x_BTD))


class _Trunk(nn.Module):
    """Embedding, blocks, last norm."""

    segments_of = TinySegments

    def __init__(self, size: TinySize) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(size.vocab_size, size.dim)
        self.layers = nn.ModuleList(_Block(size) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.dim, eps=1e-5)

    def forward(self, input_ids_BT: Tensor, position_ids_BT: Tensor, segments: Any = None) -> Tensor:
        """Hidden states, [B, T, D]."""
        segments = segments or self.segments_of(position_ids_BT)
        x_BTD = self.tok_embeddings(input_ids_BT)
        for block in self.layers:
            x_BTD = block(x_BTD, position_ids_BT, segments)
        return self.norm(x_BTD)


def drawn(like: Mapping[str, Tensor], seed: int) -> Iterator[tuple[str, Tensor]]:
    """Matrices of N(0, 0.2), norms of one.

    Args:
        like: Weights by name.
        seed: Of the draws.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    for name, weight in like.items():
        one = torch.ones(weight.shape, device="cpu")
        yield name, one if weight.ndim == 1 else one.normal_(0.0, 0.2, generator=generator)


class TinyLlama(nn.Module):
    """Trunk and head. With labels, the sum of the token losses.

    Args:
        size: Sizes. None takes the defaults.
        seed: Of the weights.
    """

    def __init__(self, size: TinySize | None = None, seed: int = 0) -> None:
        super().__init__()
        self.size = size or TinySize()
        self.model = _Trunk(self.size)
        self.output = nn.Linear(self.size.dim, self.size.vocab_size, bias=False)
        like = dict(self.named_parameters())
        self.initial_weights = lambda: drawn(like, seed)
        if not self.output.weight.is_meta:
            with torch.no_grad():
                for name, weight in self.initial_weights():
                    like[name].copy_(weight)

    def forward(self, input_ids_BT: Tensor, position_ids_BT: Tensor, labels_BT: Tensor | None = None) -> Tensor:
        """Logits, or with labels the sum of the losses."""
        hidden_BTD = self.model(input_ids_BT, position_ids_BT)
        logits_BTV = self.output(hidden_BTD)
        if labels_BT is None:
            return logits_BTV
        return F.cross_entropy(
            logits_BTV.flatten(0, 1).float(), labels_BT.flatten(), ignore_index=-100, reduction="sum"
        )


class TinyLM(L.LightningModule):
    """Next-token training in the manner of core's LM: one training step is one optimizer step.

    Args:
        net: Makes the network.
        optimizer: Makes the optimizer.
        micro_batches: Pieces that a step is computed in.
        max_norm: Gradients are clipped to it.
        keeps: What is kept of the blocks for the backward pass.
        batches: Arguments of `TinyBatches`.
    """

    def __init__(
        self,
        net: Callable[[], TinyLlama] = TinyLlama,
        optimizer: Callable[..., Optimizer] | None = None,
        micro_batches: int = 1,
        max_norm: float = 0.5,
        keeps: Kept = "all",
        **batches: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.make_net, self.make_optimizer = net, optimizer or (lambda weights: torch.optim.AdamW(weights, lr=3e-3))
        self.micro_batches, self.max_norm, self.batches = micro_batches, max_norm, batches
        self.keeps: Kept = keeps
        self.losses: list[float] = []
        self.norms: list[float] = []

    def configure_model(self) -> None:
        """Make the network, once."""
        if not hasattr(self, "net"):
            self.net = self.make_net()
            keep_only(self.net.model.layers, self.keeps)

    def configure_optimizers(self) -> Optimizer:
        """One optimizer."""
        return self.make_optimizer(self.net.parameters())

    def train_dataloader(self) -> TinyBatches:
        """This rank's share of the global batches."""
        return TinyBatches(*data_parallel_of(self.trainer.strategy), **self.batches)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """One optimizer step. Loss and gradient norm are kept."""
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        reduce = self.trainer.strategy.reduce
        tokens = reduce((batch["labels"] != -100).sum().float(), reduce_op="mean")
        total = torch.zeros(())
        for index, part in enumerate(split(batch, self.micro_batches)):
            with optimizer.toggle_model(sync_grad=index == self.micro_batches - 1):
                loss = self.net(part["input_ids"], part["position_ids"], part["labels"])
                self.manual_backward(loss / tokens)
            total += loss.detach()
        self.norms.append(float(self.gradient_norm()))
        self.clip_gradients(optimizer, self.max_norm, "norm")
        optimizer.step()
        self.losses.append(float(reduce(total, reduce_op="mean") / tokens))

    def gradient_norm(self) -> Tensor:
        """Global norm of the gradients, over stages too."""
        strategy = self.trainer.strategy
        stages = strategy.ranks.pipeline if isinstance(strategy, MeshStrategy) else None
        return global_norm(self.net.parameters(), stages)
