"""Seconds of one step of a plan: computation, what communication cannot hide behind it, and the pipeline's bubble."""

from dataclasses import dataclass

from internlm2_parallel.search.machine import Machine
from internlm2_parallel.search.memory import weights_per_rank
from internlm2_parallel.search.plans import Plan, Workload

HIDDEN = 0.8
"""Share of the computation behind which gathering and reducing can hide."""


@dataclass(frozen=True)
class Time:
    """Seconds of a step by what they go to.

    Attributes:
        compute_s: Matrices and attention, recomputation included.
        memory_s: What only moves bytes: norms, residuals, rotation, gate, loss.
        optimizer_s: AdamW's bytes, once a step.
        tensor_s: Joining activations of tensor ranks. Nothing hides it.
        context_s: Keys and values of context ranks.
        data_s: Gathering weights and reducing gradients, before any hiding.
        exposed_s: What is left of the two lines above after hiding.
        bubble_s: Stages that wait for the first and last micro-batch.
        mfu: Operations that the model needs, over what the cluster could do.
    """

    compute_s: float
    memory_s: float
    optimizer_s: float
    tensor_s: float
    context_s: float
    data_s: float
    exposed_s: float
    bubble_s: float
    mfu: float

    @property
    def step_s(self) -> float:
        """All of it."""
        work = self.compute_s + self.memory_s + self.optimizer_s
        return work + self.tensor_s + self.exposed_s + self.bubble_s

    @property
    def communication_share(self) -> float:
        """Share of the step in communication that is not hidden."""
        return (self.tensor_s + self.exposed_s) / self.step_s


def time_of(plan: Plan, work: Workload, machine: Machine) -> Time:
    """Time of a step.

    Args:
        plan: How it is trained.
        work: What is trained.
        machine: Where.
    """
    gpus = plan.layout.ranks
    compute, memory = _compute_s(plan, work, machine), _memory_s(plan, work, machine)
    tensor, context, data = (f(plan, work, machine) for f in (_tensor_s, _context_s, _data_s))
    exposed = max(0.0, context + data - HIDDEN * (compute + memory))
    bubble = (compute + memory + tensor) * (plan.layout.pipeline - 1) / plan.micro_batches
    optimizer = _optimizer_s(plan, work, machine)
    step = compute + memory + optimizer + tensor + exposed + bubble
    mfu = work.flops / (step * gpus * machine.peak_tflops * 1e12)
    return Time(compute, memory, optimizer, tensor, context, data, exposed, bubble, mfu)


def _compute_s(plan: Plan, work: Workload, machine: Machine) -> float:
    """Operations at the shares of the peak that they reach. Recomputing a block repeats its forward: a third more."""
    head = 6.0 * work.shape.vocab_size * work.shape.dim * work.batch_tokens
    blocks = work.matrix_flops - head
    again = {"all": 0.0, "matmuls": 0.0, "nothing": 1 / 3}[plan.keep]
    attention_again = 0.0 if plan.keep == "all" else 1 / 3
    seconds = (blocks * (1 + again) + head) / machine.matmul_share
    seconds += work.attention_flops * (1 + attention_again) / machine.attention_share
    stages, layers = plan.layout.pipeline, work.shape.layers
    unevenness = -(-layers // stages) * stages / layers  # the fullest stage sets the pace
    return seconds * unevenness / (plan.layout.ranks * machine.peak_tflops * 1e12)


def _memory_s(plan: Plan, work: Workload, machine: Machine) -> float:
    """Bytes read and written by kernels that compute next to nothing, each kernel on its own (no fusion).

    Values of a token and block in the forward pass: norms and residual sums read and write 10 times the width, rotation
    twice q and k, the gate five times the feed-forward. The backward pass moves twice that. Recomputation repeats the
    forward. Of logits, fp32, a loss moves six.
    """
    s, layout = work.shape, plan.layout
    split_dim = s.dim / (layout.tensor if layout.sequence_parallel else 1)
    forward = 10 * split_dim + (2 * (work.q_width + work.kv_width) + 5 * s.ffn_dim) / layout.tensor
    passes = 3 if plan.keep == "all" else 4
    blocks = work.value_bytes * passes * forward * -(-s.layers // layout.pipeline)
    loss = 4 * 6 * s.vocab_size / layout.tensor
    return _tokens_per_rank(plan, work) * (blocks + loss) / (machine.memory_gb_s * 1e9)


def _optimizer_s(plan: Plan, work: Workload, machine: Machine) -> float:
    """AdamW reads four and writes three fp32 values per weight whose state is kept here."""
    return 4 * 7 * weights_per_rank(plan, work) / plan.state_shards / (machine.memory_gb_s * 1e9)


def _tokens_per_rank(plan: Plan, work: Workload) -> float:
    return work.batch_tokens / (plan.layout.data_parallel_size * plan.layout.context)


def _tensor_s(plan: Plan, work: Workload, machine: Machine) -> float:
    """Four gathers and four scatters of the activations per block (forward and backward)."""
    ranks = plan.layout.tensor
    if ranks == 1:
        return 0.0
    moved = 8 * _tokens_per_rank(plan, work) * work.shape.dim * work.value_bytes * (ranks - 1) / ranks
    return moved * (work.shape.layers / plan.layout.pipeline) / (machine.gb_s(ranks) * 1e9)


def _context_s(plan: Plan, work: Workload, machine: Machine) -> float:
    """Keys and values gathered in the forward pass and again in the backward pass, their gradients scattered."""
    layout = plan.layout
    if layout.context == 1:
        return 0.0
    s = work.shape
    whole = _tokens_per_rank(plan, work) * layout.context
    keys_and_values = 2 * work.kv_width * work.value_bytes / layout.tensor
    moved = 3 * whole * keys_and_values * (layout.context - 1) / layout.context
    return moved * (s.layers / layout.pipeline) / (machine.gb_s(layout.tensor * layout.context) * 1e9)


def _data_s(plan: Plan, work: Workload, machine: Machine) -> float:
    """Weights gathered and gradients reduced (fp32), as often as the extents ask."""
    layout, sharding, weights = plan.layout, plan.sharding, weights_per_rank(plan, work)
    shards = layout.shard * layout.context
    span = layout.tensor * shards
    gathers = 1 if sharding.parameters == "replica" else 2 * plan.micro_batches
    reductions = 1 if sharding.gradients == "replica" else plan.micro_batches
    seconds = 0.0
    if shards > 1:
        share = (shards - 1) / shards
        seconds += weights * share * (work.value_bytes * gathers + 4 * reductions) / (machine.gb_s(span) * 1e9)
        hops = (gathers + reductions) * work.shape.layers / layout.pipeline
        seconds += hops * machine.latency_us * 1e-6 * (span > machine.node_gpus)
    if layout.replicate > 1:
        copies = layout.replicate
        moved = 2 * 4 * weights / shards * (copies - 1) / copies
        seconds += moved / (machine.gb_s(span * copies) * 1e9)
    return seconds
