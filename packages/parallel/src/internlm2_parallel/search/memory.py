"""Bytes that a plan needs on its fullest rank.

Weights are stored in fp32 and computed in bf16 under sharding; AdamW keeps two fp32 moments; gradients are fp32.
"""

from dataclasses import dataclass

from internlm2_parallel.search.plans import Plan, Workload

HEAD_CHUNK = 2**27
"""Logits held at once while the loss is computed (fp32)."""


@dataclass(frozen=True)
class Memory:
    """Bytes by what they hold.

    Attributes:
        weights: stored fp32 weights.
        gathered: bf16 copies while a step computes.
        gradients: between micro-batches.
        optimizer: moments.
        activations: kept for the backward pass, all micro-batches in flight.
        logits: one chunk and its gradient.
    """

    weights: float
    gathered: float
    gradients: float
    optimizer: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gathered + self.gradients + self.optimizer + self.activations + self.logits


def weights_per_rank(plan: Plan, work: Workload) -> float:
    """Weights of the fullest stage, split over its tensor ranks."""
    stages = plan.layout.pipeline
    blocks = -(-work.shape.layers // stages)
    ends = work.shape.vocab_size * work.shape.dim * (2 if stages == 1 else 1)
    return (blocks * work.block_weights + ends) / plan.layout.tensor


def memory_of(plan: Plan, work: Workload) -> Memory:
    """Memory of a plan's fullest rank."""
    layout, sharding, weights = plan.layout, plan.sharding, weights_per_rank(plan, work)
    shards = layout.shard * layout.context
    split = {"replica": 1, "partial": shards, "full": shards}
    stored = 1 if sharding.optimizer == "replica" else shards
    two_blocks = 2 * max(work.block_weights, work.shape.vocab_size * work.shape.dim) / layout.tensor
    gathered = weights if sharding.parameters == "replica" else min(weights, two_blocks)
    # Reduced gradients leave block by block; one block's whole gradient is alive at a time.
    gradients = weights / split[sharding.gradients] + (two_blocks / 2 if split[sharding.gradients] > 1 else 0)
    logits = min(HEAD_CHUNK, plan.micro_rows * work.tokens / layout.context * work.shape.vocab_size) / layout.tensor
    return Memory(
        weights=4 * weights / stored,
        gathered=2 * gathered if stored > 1 or layout.replicate > 1 else 0,
        gradients=4 * gradients,
        optimizer=8 * weights / stored,
        activations=activations(plan, work),
        logits=2 * 4 * logits,
    )


def activations(plan: Plan, work: Workload) -> float:
    """Bytes kept for the backward pass on the first stage, which has the most micro-batches in flight."""
    layout = plan.layout
    tokens = plan.micro_rows * work.tokens / layout.context
    blocks = -(-work.shape.layers // layout.pipeline)
    in_flight = min(layout.pipeline, plan.micro_batches)
    return tokens * in_flight * blocks * bytes_per_token(plan, work) / layout.tensor


def bytes_per_token(plan: Plan, work: Workload) -> float:
    """Bytes of one block and token, bf16, before the split over tensor ranks (sequence parallel splits all of them)."""
    s = work.shape
    q, kv = s.num_kv_heads * s.q_per_kv * s.head_dim, s.num_kv_heads * s.head_dim
    inputs = 2 * s.dim
    if plan.keep == "nothing":
        return 2 * s.dim
    products = (q + 2 * kv) + s.dim + 2 * s.ffn_dim + s.dim
    if plan.keep == "matmuls":
        return 2 * (s.dim + products)
    # Also: both normalised inputs, turned queries and keys, attention's output, gate's activation and the product.
    between = 2 * s.dim + (q + kv) + q + 2 * s.ffn_dim
    return 2 * (inputs + products + between)
