"""Seconds that one rank computes on a micro-batch, and that its tensor and context groups talk meanwhile."""

import math
from dataclasses import dataclass

from internlm2_parallel.search.kernels import attention_s, bytes_s, product_s
from internlm2_parallel.search.machine import Machine
from internlm2_parallel.search.memory import HEAD_CHUNK
from internlm2_parallel.search.network import Group
from internlm2_parallel.search.plans import Plan, Workload

FORWARD_KERNELS, BACKWARD_KERNELS = 22, 41
"""Element-wise kernels of a block: operations of core's block that are neither products, attention nor views."""


@dataclass(frozen=True)
class Pass:
    """Seconds of a forward and of a backward pass. What is computed again belongs to the backward pass.

    Attributes:
        forward: Forward.
        backward: Backward.
    """

    forward: float
    backward: float

    def __add__(self, other: "Pass") -> "Pass":
        """One after the other."""
        return Pass(self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, times: float) -> "Pass":
        """Several times."""
        return Pass(self.forward * times, self.backward * times)

    @property
    def both(self) -> float:
        """Forward and backward."""
        return self.forward + self.backward


NOTHING = Pass(0.0, 0.0)


@dataclass(frozen=True)
class Piece:
    """One micro-batch on a rank.

    Attributes:
        plan: How it is trained.
        work: What is trained.
        machine: Where.
    """

    plan: Plan
    work: Workload
    machine: Machine

    @property
    def tokens(self) -> int:
        """Tokens of this rank."""
        return self.plan.micro_rows * self.work.tokens // self.plan.layout.context

    def products(self) -> Pass:
        """The five products of a block. Each has two in the backward pass: for its input and for its weight."""
        shape, tensor = self.work.shape, self.plan.layout.tensor
        q, kv, ffn = self.work.q_width // tensor, self.work.kv_width // tensor, shape.ffn_dim // tensor
        sizes = [(shape.dim, q + 2 * kv), (q, shape.dim), (shape.dim, ffn), (shape.dim, ffn), (ffn, shape.dim)]
        return sum((self._product(inner, columns) for inner, columns in sizes), NOTHING)

    def _product(self, inner: int, columns: int, tokens: int = 0) -> Pass:
        size, rows = self.work.value_bytes, tokens or self.tokens
        forward = product_s(self.machine, rows, inner, columns, size)
        for_input = product_s(self.machine, rows, columns, inner, size)
        for_weight = product_s(self.machine, inner, rows, columns, size)
        return Pass(forward, for_input + for_weight)

    def attention(self) -> Pass:
        """Attention of a block. Under ulysses a rank has whole rows of some heads."""
        layout, work = self.plan.layout, self.work
        operations = work.attention_flops / 3 / work.batch_tokens / work.shape.layers * self.tokens / layout.tensor
        spread = layout.context if self.plan.context != "ulysses" else 1
        return Pass(*attention_s(self.machine, operations, work.tokens / spread))

    def moving(self) -> Pass:
        """Kernels of a block that compute next to nothing, each on its own (no fusion).

        Values of a token in the forward pass: norms and residual sums read and write 10 times the width, rotation twice
        q and k, the gate five times the feed-forward. The backward pass moves twice that.
        """
        shape, layout = self.work.shape, self.plan.layout
        width = shape.dim / (layout.tensor if layout.sequence_parallel else 1)
        values = 10 * width + (2 * (self.work.q_width + self.work.kv_width) + 5 * shape.ffn_dim) / layout.tensor
        moved = self.work.value_bytes * values * self.tokens
        backward = bytes_s(self.machine, 2 * moved, BACKWARD_KERNELS)
        return Pass(bytes_s(self.machine, moved, FORWARD_KERNELS), backward)

    def again(self, products: Pass, attention: Pass, moving: Pass) -> Pass:
        """What recomputation adds to a backward pass.

        Args:
            products: Of a block.
            attention: Of a block.
            moving: Of a block.
        """
        if self.plan.keep == "all":
            return NOTHING
        kept = products.forward if self.plan.keep == "matmuls" else 0.0
        return Pass(0.0, products.forward + attention.forward + moving.forward - kept)

    def head(self) -> Pass:
        """The product with the head, a chunk of logits at a time."""
        vocabulary = self.work.shape.vocab_size // self.plan.layout.tensor
        chunks = max(1, round(self.tokens * self.work.shape.vocab_size / HEAD_CHUNK))
        return self._product(self.work.shape.dim, vocabulary, -(-self.tokens // chunks)) * chunks

    def loss(self) -> Pass:
        """Bytes of the logits, each moved six times in fp32."""
        seconds = bytes_s(self.machine, 6 * 4 * self.work.shape.vocab_size // self.plan.layout.tensor * self.tokens)
        return Pass(seconds / 3, 2 * seconds / 3)

    def tensor(self) -> Pass:
        """Two gathers and two scatters of a block's activations in each pass. Nothing hides them."""
        group = Group(self.machine, self.plan.layout.tensor, 1)
        once = group.gather_s(self.tokens * self.work.shape.dim * self.work.value_bytes, 4)
        return Pass(once, once * (2 if self.plan.keep == "nothing" else 1))

    def context(self) -> Pass:
        """Keys and values of a block's other tokens. Nothing hides them. Recomputed attention asks for them again."""
        layout, work = self.plan.layout, self.work
        group = Group(self.machine, layout.context, layout.tensor)
        pairs = 2 * self.tokens * work.kv_width * work.value_bytes / layout.tensor
        if self.plan.context == "ulysses":
            repeats = layout.context // math.gcd(work.shape.num_kv_heads // layout.tensor, layout.context)
            once = group.exchange_s(2 * self.tokens * work.q_width * work.value_bytes / layout.tensor, 2)
            once += group.exchange_s(pairs * repeats, 2)
        else:
            once = group.gather_s(pairs * layout.context)
        return Pass(once, once * (1 if self.plan.keep == "all" else 2))
