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
from internlm2_parallel.context.documents import Documents


@dataclass(frozen=True)
class TinySize:
    """Sizes of the network, under the names that a layout is checked against."""

    layers: int = 4
    dim: int = 32
    num_kv_heads: int = 4
    q_per_kv: int = 2
    head_dim: int = 8
    ffn_dim: int = 64
    vocab_size: int = 96


class TinyAttend(nn.Module):
    """Causal attention inside documents, by a dense mask."""

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Any) -> Tensor:
        """``segments`` carries ``document_ids`` [B, T]."""
        ids, T = segments.document_ids, q_BTNH.shape[1]
        mask = (ids[:, :, None] == ids[:, None, :]) & torch.ones(T, T, dtype=torch.bool).tril()
        q, k, v = (x.transpose(1, 2) for x in (q_BTNH, k_BTGH, v_BTGH))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None], enable_gqa=True).transpose(1, 2)


class TinyAttention(nn.Module):
    """Fused, interleaved projection; local head counts are read off the weight."""

    def __init__(self, size: TinySize) -> None:
        super().__init__()
        self.q_per_kv, self.head_dim, self.attend = size.q_per_kv, size.head_dim, TinyAttend()
        self.wqkv = nn.Linear(size.dim, size.num_kv_heads * (size.q_per_kv + 2) * size.head_dim, bias=False)
        self.wo = nn.Linear(size.num_kv_heads * size.q_per_kv * size.head_dim, size.dim, bias=False)

    def forward(self, x_BTD: Tensor, positions_BT: Tensor, segments: Any) -> Tensor:
        """Mix tokens."""
        qkv = self.wqkv(x_BTD).unflatten(-1, (-1, self.q_per_kv + 2, self.head_dim))
        q_BTNH, k_BTGH, v_BTGH = qkv[..., :-2, :].flatten(2, 3), qkv[..., -2, :], qkv[..., -1, :]
        out = self.attend(rotated(q_BTNH, positions_BT), rotated(k_BTGH, positions_BT), v_BTGH, segments)
        return self.wo(out.flatten(2))


def rotated(x_BTNH: Tensor, positions_BT: Tensor) -> Tensor:
    """Rotary positions of base 10,000, angles in fp32."""
    H = x_BTNH.shape[-1]
    angles = positions_BT[..., None].float() * 10000.0 ** (-torch.arange(0, H, 2, dtype=torch.float32) / H)
    cos, sin = (angle[:, :, None].to(x_BTNH.dtype) for angle in (angles.cos(), angles.sin()))
    first, second = x_BTNH.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class TinyFeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, size: TinySize) -> None:
        super().__init__()
        self.w1 = nn.Linear(size.dim, size.ffn_dim, bias=False)
        self.w3 = nn.Linear(size.dim, size.ffn_dim, bias=False)
        self.w2 = nn.Linear(size.ffn_dim, size.dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Apply to the last dimension."""
        return self.w2(F.silu(self.w1(x_BTD)) * self.w3(x_BTD))


class TinyBlock(nn.Module):
    """Pre-norm block."""

    def __init__(self, size: TinySize) -> None:
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.RMSNorm(size.dim, eps=1e-5), nn.RMSNorm(size.dim, eps=1e-5)
        self.attention, self.feed_forward = TinyAttention(size), TinyFeedForward(size)

    def forward(self, x_BTD: Tensor, positions_BT: Tensor, segments: Any) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), positions_BT, segments)
        return x_BTD + self.feed_forward(self.ffn_norm(x_BTD))


class TinyTrunk(nn.Module):
    """Embedding, blocks, last norm."""

    def __init__(self, size: TinySize) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(size.vocab_size, size.dim)
        self.layers = nn.ModuleList(TinyBlock(size) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.dim, eps=1e-5)

    def forward(self, input_ids_BT: Tensor, position_ids_BT: Tensor, segments: Any = None) -> Tensor:
        """Hidden states, [B, T, D]."""
        if segments is None:
            segments = Documents.of_positions(position_ids_BT)
        x_BTD = self.tok_embeddings(input_ids_BT)
        for block in self.layers:
            x_BTD = block(x_BTD, position_ids_BT, segments)
        return self.norm(x_BTD)


def drawn(like: Mapping[str, Tensor], seed: int) -> Iterator[tuple[str, Tensor]]:
    """Matrices of N(0, 0.2), norms of one."""
    generator = torch.Generator("cpu").manual_seed(seed)
    for name, weight in like.items():
        one = torch.ones(weight.shape, device="cpu")
        yield name, one if weight.ndim == 1 else one.normal_(0.0, 0.2, generator=generator)


class TinyLlama(nn.Module):
    """Trunk and head; with labels, the sum of the token losses."""

    def __init__(self, size: TinySize | None = None, seed: int = 0) -> None:
        super().__init__()
        self.size = size or TinySize()
        self.model = TinyTrunk(self.size)
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


class TinyBatches:
    """Loader of global batches of packed rows, the share of one data-parallel rank; its state is one number.

    Args:
        rank: share.
        size: number of shares; divides ``rows``.
        steps: batches.
        rows: rows of the global batch.
        tokens: T.
        vocab_size: ids below it.
    """

    def __init__(
        self, rank: int, size: int, steps: int = 6, rows: int = 8, tokens: int = 32, vocab_size: int = 96
    ) -> None:
        self.rank, self.size, self.steps, self.rows = rank, size, steps, rows
        self.tokens, self.vocab_size, self.done = tokens, vocab_size, 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while self.done < self.steps:
            self.done += 1
            yield self.batch(self.done - 1)
        self.done = 0

    def state_dict(self) -> dict[str, int]:
        """Batches handed out."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on there."""
        self.done = state["done"]

    def batch(self, step: int) -> dict[str, Tensor]:
        """Batch ``step``: about a tenth of the tokens begin a document, a fifth carry no loss."""
        generator = torch.Generator().manual_seed(1000 + step)
        ids = torch.randint(0, self.vocab_size, (self.rows, self.tokens + 1), generator=generator)
        starts = torch.rand(self.rows, self.tokens, generator=generator) < 0.1
        starts[:, 0] = True
        index = torch.arange(self.tokens).expand(self.rows, -1)
        positions = index - torch.where(starts, index, 0).cummax(1).values
        silent = torch.rand(self.rows, self.tokens, generator=generator) < 0.2
        labels = ids[:, 1:].masked_fill(silent, -100)
        share = slice(self.rank * self.rows // self.size, (self.rank + 1) * self.rows // self.size)
        return {"input_ids": ids[share, :-1], "labels": labels[share], "position_ids": positions[share]}


class TinyLM(L.LightningModule):
    """Next-token training in the manner of core's LM: one training step is one optimizer step.

    Args:
        net: makes the network.
        optimizer: makes the optimizer.
        micro_batches: pieces that a step is computed in.
        max_norm: gradients are clipped to it.
        batches: arguments of :class:`TinyBatches`.
    """

    def __init__(
        self,
        net: Callable[[], nn.Module] = TinyLlama,
        optimizer: Callable[..., Optimizer] | None = None,
        micro_batches: int = 1,
        max_norm: float = 0.5,
        **batches: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.make_net, self.make_optimizer = net, optimizer or (lambda weights: torch.optim.AdamW(weights, lr=3e-3))
        self.micro_batches, self.max_norm, self.batches = micro_batches, max_norm, batches
        self.losses: list[float] = []
        self.norms: list[float] = []

    def configure_model(self) -> None:
        """Make the network, once."""
        if not hasattr(self, "net"):
            self.net = self.make_net()

    def configure_optimizers(self) -> Optimizer:
        """One optimizer."""
        return self.make_optimizer(self.net.parameters())

    def train_dataloader(self) -> TinyBatches:
        """This rank's share of the global batches."""
        share = getattr(self.trainer.strategy, "distributed_sampler_kwargs", {"rank": 0, "num_replicas": 1})
        return TinyBatches(share["rank"], share["num_replicas"], **self.batches)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """One optimizer step; loss and gradient norm are kept."""
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
        ranks = getattr(self.trainer.strategy, "ranks", None)
        return global_norm(self.net.parameters(), ranks.pipeline if ranks else None)


def split(batch: dict[str, Tensor], parts: int) -> Iterator[dict[str, Tensor]]:
    """Cut a batch into equal micro-batches."""
    rows = len(batch["input_ids"]) // parts
    for index in range(parts):
        yield {name: value[index * rows : (index + 1) * rows] for name, value in batch.items()}
