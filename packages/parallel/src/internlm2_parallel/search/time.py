"""Seconds of one step of a plan: computation, what communication cannot hide behind it, and the pipeline's bubble."""

from dataclasses import dataclass

from internlm2_parallel.search.kernels import bytes_s
from internlm2_parallel.search.machine import Machine
from internlm2_parallel.search.memory import weights_per_rank
from internlm2_parallel.search.network import Group
from internlm2_parallel.search.plans import Plan, Workload
from internlm2_parallel.search.work import NOTHING, Pass, Piece

SLOWER = 0.189
"""Computation that hides communication takes so much longer, on average (arXiv 2507.03114)."""


@dataclass(frozen=True)
class Time:
    """Seconds of a step by what they go to.

    Attributes:
        compute_s: Matrices and attention, recomputation included.
        memory_s: What only moves bytes: norms, residuals, rotation, gate, loss.
        optimizer_s: Adding up gradients, and AdamW's bytes once a step.
        tensor_s: Joining activations of tensor ranks. Nothing hides it.
        context_s: Keys and values of context ranks. Nothing hides it.
        data_s: Gathering weights and reducing gradients, before any hiding.
        exposed_s: What is left of the line above after hiding, and what hiding costs.
        bubble_s: Stages that wait for the first and last micro-batch, and sending between them.
        tokens_s: Tokens a second of one GPU.
        mfu: Operations that the model needs, over what the cluster could do. Causal attention counts as half.
        mfu_internevo: The same as InternEvo counts: all of the attention, and a fourth pass where blocks are computed
            again.
    """

    compute_s: float
    memory_s: float
    optimizer_s: float
    tensor_s: float
    context_s: float
    data_s: float
    exposed_s: float
    bubble_s: float
    tokens_s: float
    mfu: float
    mfu_internevo: float

    @property
    def step_s(self) -> float:
        """All of it."""
        work = self.compute_s + self.memory_s + self.optimizer_s
        return work + self.tensor_s + self.context_s + self.exposed_s + self.bubble_s

    @property
    def communication_share(self) -> float:
        """Share of the step in communication that is not hidden."""
        return (self.tensor_s + self.context_s + self.exposed_s) / self.step_s


def time_of(plan: Plan, work: Workload, machine: Machine) -> Time:
    """Time of a step.

    Args:
        plan: How it is trained.
        work: What is trained.
        machine: Where.
    """
    piece, pieces = Piece(plan, work, machine), plan.micro_batches
    products, attention, moving = piece.products(), piece.attention(), piece.moving()
    again, head, loss = piece.again(products, attention, moving), piece.head(), piece.loss()
    blocks, with_head = pace(plan, work, (products + attention + moving + again).both, (head + loss).both)
    computing = (products + attention + again) * blocks + head * with_head
    moved = moving * blocks + loss * with_head
    tensor, context = piece.tensor().both * blocks, piece.context().both * blocks
    data, exposed = _data_s(plan, work, machine, computing + moved)
    waits = (plan.layout.pipeline - 1) / plan.stages_per_rank
    bubble = (computing.both + moved.both + tensor + context) * waits + _sending_s(piece) * pieces
    spent = [pieces * part for part in (computing.both, moved.both, tensor, context)]
    optimizer = _optimizer_s(plan, work, machine)
    step = sum(spent) + optimizer + exposed + bubble
    tokens_s = work.batch_tokens / step / plan.layout.ranks
    peak = machine.peak_tflops * 1e12
    theirs = work.shape.internevo_flops_per_token(work.tokens, plan.keep == "nothing")
    mfu = work.flops / work.batch_tokens * tokens_s / peak
    rates = tokens_s, mfu, theirs * tokens_s / peak
    return Time(spent[0], spent[1], optimizer, spent[2], spent[3], data, exposed, bubble, *rates)


def pace(plan: Plan, work: Workload, block_s: float, head_s: float) -> tuple[int, int]:
    """Blocks of the slowest stage, and whether it has the head (0 or 1).

    Args:
        plan: How it is trained.
        work: What is trained.
        block_s: Seconds of a block.
        head_s: Seconds of head and loss.
    """
    stages, layers = plan.layout.pipeline, work.shape.layers
    if stages == 1:
        return layers, 1
    most, least = -(-layers // stages), layers // stages
    return (least, 1) if least * block_s + head_s > most * block_s else (most, 0)


def beside(communicating: Pass, computing: Pass) -> float:
    """Seconds that communication adds to both passes.

    Args:
        communicating: Alone.
        computing: Alone.
    """
    return hidden_s(communicating.forward, computing.forward) + hidden_s(communicating.backward, computing.backward)


def hidden_s(communicating: float, computing: float) -> float:
    """Seconds that communication adds to the computation that it runs beside.

    Args:
        communicating: Seconds of communication alone.
        computing: Seconds of computation alone.
    """
    return max(0.0, communicating - computing) + SLOWER * min(communicating, computing)


def _optimizer_s(plan: Plan, work: Workload, machine: Machine) -> float:
    """AdamW reads four and writes three fp32 values per weight whose state is kept here.

    Each micro-batch adds a gradient to the sum (a read of one, a read and a write of the other), as split as it is.
    """
    weights = weights_per_rank(plan, work)
    split = 1 if plan.sharding.gradients == "replica" else plan.layout.shard * plan.layout.context
    added = (work.value_bytes + 2 * work.gradient_bytes) * weights / split * (plan.micro_batches - 1)
    return bytes_s(machine, 4 * 7 * weights / plan.state_shards + added)


def _sending_s(piece: Piece) -> float:
    """Hidden states from stage to stage, and their gradients back, of one micro-batch."""
    layout, work = piece.plan.layout, piece.work
    if layout.pipeline == 1:
        return 0.0
    group = Group(piece.machine, layout.pipeline, layout.ranks // layout.pipeline)
    states = 2 * piece.tokens * work.shape.dim * work.value_bytes
    return piece.plan.stages_per_rank * group.send_s(states)


def _data_s(plan: Plan, work: Workload, machine: Machine, computing: Pass) -> tuple[float, float]:
    """Weights gathered and gradients reduced, as often as the extents ask, and what is not hidden of it.

    A gather of weights hides behind the pass that waits for the next block, a reduction behind the backward pass of the
    blocks before. What happens once a step has one micro-batch to hide behind.
    """
    layout, sharding, weights = plan.layout, plan.sharding, weights_per_rank(plan, work)
    blocks = work.shape.layers / layout.pipeline
    shards = Group(machine, layout.shard * layout.context, layout.tensor)
    copies = Group(machine, layout.replicate, layout.tensor * shards.ranks)
    gather = shards.gather_s(work.value_bytes * weights / blocks, blocks)
    scatter = shards.gather_s(work.gradient_bytes * weights / blocks, blocks)
    join = copies.reduce_s(work.gradient_bytes * weights / shards.ranks / blocks, blocks)
    each = NOTHING if sharding.parameters == "replica" else Pass(gather, gather)
    each += Pass(0.0, 0.0 if sharding.gradients == "replica" else scatter)
    last = Pass(gather if sharding.parameters == "replica" else 0.0, join)
    last += each + Pass(0.0, scatter if sharding.gradients == "replica" else 0.0)
    others = plan.micro_batches - 1
    return others * each.both + last.both, others * beside(each, computing) + beside(last, computing)
