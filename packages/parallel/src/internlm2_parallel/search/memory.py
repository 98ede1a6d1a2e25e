"""Bytes that a plan needs on its fullest rank.

Weights, gradients and AdamW's two moments are fp32. What a step computes (gathered weights, activations) has
``Workload.value_bytes`` a value, two for bf16.
"""

from dataclasses import dataclass, replace

from internlm2_parallel.search.place import Place
from internlm2_parallel.search.plans import Plan, Workload

HEAD_CHUNK = 2**27
"""Logits held at once while the loss is computed (fp32)."""

RING_SCORES = 5.5
"""Blocks of fp32 scores that are alive while ring attention computes the gradient of one block of keys: scores, their
softmax with and without the mask, and the gradients of these. Measured: 5.2 at rows of 256, 5.6 at rows of 1,024."""


@dataclass(frozen=True)
class Memory:
    """Bytes by what they hold.

    Attributes:
        weights: Stored fp32 weights.
        gathered: Copies while a step computes.
        gradients: Between micro-batches.
        optimizer: Moments.
        activations: Kept for the backward pass, all micro-batches in flight, and what stages of a pipeline exchange.
        working: One chunk of logits and its gradient, or the backward pass of a block, which may be computed again,
            whichever is larger.
    """

    weights: float
    gathered: float
    gradients: float
    optimizer: float
    activations: float
    working: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gathered + self.gradients + self.optimizer + self.activations + self.working


def weights_per_rank(plan: Plan, work: Workload, rank: int = 0) -> float:
    """Weights of a pipeline rank, split over its tensor ranks. The first has as many as any.

    Args:
        plan: How it is trained.
        work: What is trained.
        rank: Among the ranks of the pipeline.
    """
    place = Place(plan, work.shape.layers, rank)
    ends = work.shape.vocab_size * work.shape.dim * (place.is_first + place.is_last)
    return (place.blocks * work.block_weights + ends) / plan.layout.tensor


def memory_of(plan: Plan, work: Workload) -> Memory:
    """Memory of a plan's fullest rank.

    Args:
        plan: How it is trained.
        work: What is trained.
    """
    last = plan.layout.pipeline - 1
    # Between the ends, what is held rises or falls evenly.
    ranks = sorted({0, min(1, last), max(0, last - 1), last})
    found = (_memory_at(Place(plan, work.shape.layers, rank), work) for rank in ranks)
    return max(found, key=lambda memory: memory.total)


def _memory_at(place: Place, work: Workload) -> Memory:
    """Memory of one rank of the pipeline."""
    plan, weights = place.plan, weights_per_rank(place.plan, work, place.rank)
    layout, sharding = plan.layout, plan.sharding
    shards = layout.shard * layout.context
    split = {"replica": 1, "partial": shards, "full": shards}
    stored = plan.state_shards
    two_blocks = 2 * max(work.block_weights, work.shape.vocab_size * work.shape.dim) / layout.tensor
    gathered = weights if sharding.parameters == "replica" else min(weights, two_blocks)
    # Reduced gradients leave block by block, so one block's whole gradient is alive at a time.
    gradients = weights / split[sharding.gradients] + (two_blocks / 2 if split[sharding.gradients] > 1 else 0)
    logits = min(HEAD_CHUNK, plan.micro_rows * work.tokens / layout.context * work.shape.vocab_size) / layout.tensor
    recomputed = 0.0 if plan.keep == "all" else _block_activations(replace(plan, keep="all"), work)
    return Memory(
        weights=4 * weights / stored,
        gathered=work.value_bytes * gathered if stored > 1 or layout.replicate > 1 else 0,
        gradients=work.gradient_bytes * gradients,
        optimizer=8 * weights / stored,
        activations=_activations(place, work),
        working=max(2 * 4 * logits if place.is_last else 0.0, recomputed + _gradients_inside(plan, work)),
    )


def _activations(place: Place, work: Workload) -> float:
    """Bytes kept for the backward pass, and those that stages of a pipeline exchange."""
    plan = place.plan
    state = plan.micro_rows * work.tokens / plan.layout.context * work.value_bytes * work.shape.dim
    # The last norm keeps what it normalised and what the head reads.
    ends = 2 * state if place.is_last else 0.0
    kept = place.passes * place.blocks / plan.stages_per_rank * _block_activations(plan, work)
    return kept + ends + (place.hidden_states * state if plan.layout.pipeline > 1 else 0.0)


def _block_activations(plan: Plan, work: Workload) -> float:
    """Bytes that one block keeps of a micro-batch."""
    tokens = plan.micro_rows * work.tokens / plan.layout.context
    kept = tokens * _bytes_per_token(plan, work)
    if plan.keep == "all" and plan.layout.context > 1:
        kept += tokens * _context_bytes_per_token(plan, work)
    return kept


def _bytes_per_token(plan: Plan, work: Workload) -> float:
    """Bytes that one block keeps of a token on each tensor rank.

    Autograd keeps both norms' inputs, normalised values and outputs. It keeps q, k and v before and after the rotation,
    and attention's output. Of the feed-forward it keeps both halves, the gate's activation and the product.
    """
    s, layout = work.shape, plan.layout
    q, kv = work.q_width, work.kv_width
    # Values as wide as the model are whole on every tensor rank unless tokens are split between the matrices. What
    # enters wqkv, w1 and w3 and what leaves wo and w2 is whole even then.
    whole = layout.tensor * s.dim
    norms = s.dim if layout.sequence_parallel else whole
    if plan.keep == "nothing":
        return work.value_bytes * norms / layout.tensor
    if plan.keep == "matmuls":
        return work.value_bytes * (norms + 2 * whole + q + 2 * kv + 2 * s.ffn_dim) / layout.tensor
    split = (q + 2 * kv) + (q + kv) + q + 4 * s.ffn_dim
    return work.value_bytes * (4 * norms + 2 * whole + split) / layout.tensor


def _context_bytes_per_token(plan: Plan, work: Workload) -> float:
    """Bytes that attention over split rows keeps of a local token besides.

    All keep keys and values of the other tokens of a row. Gather keeps a dense mask, a value for each key up to the end
    of each of the rank's two chunks. Ring keeps the fp32 result of every block of keys and of every merge but the last,
    and masks of a byte.
    """
    ranks, tensor = plan.layout.context, plan.layout.tensor
    pairs = work.value_bytes * 2 * work.kv_width * (ranks - 1) / tensor
    if plan.context == "gather":
        return pairs + work.value_bytes * (work.tokens + work.tokens / ranks / 2) / 2
    if plan.context == "ring":
        return pairs + 4 * (2 * ranks - 2) * work.q_width / tensor + work.tokens
    return pairs


def _gradients_inside(plan: Plan, work: Workload) -> float:
    """Bytes of a block's backward pass beside what it has kept: in the feed-forward, or of ring attention's scores.

    The product of the gate has been freed by the time that the gradients of it and of both its factors are there.
    """
    tokens = plan.micro_rows * work.tokens / plan.layout.context
    feed_forward = 2 * work.value_bytes * tokens * work.shape.ffn_dim / plan.layout.tensor
    return max(feed_forward, _scores(plan, work))


def _scores(plan: Plan, work: Workload) -> float:
    """Bytes of ring attention's scores, which it holds for one block of keys at a time."""
    if plan.layout.context == 1 or plan.context != "ring":
        return 0.0
    here = work.tokens / plan.layout.context
    heads = work.shape.num_kv_heads * work.shape.q_per_kv / plan.layout.tensor
    return RING_SCORES * 4 * plan.micro_rows * here * here * heads
