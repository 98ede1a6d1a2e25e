"""What a rank of a pipeline holds at its fullest moment, by the schedules of torch 2.13.

A pass is one micro-batch in one stage, from its forward pass to the end of its backward pass. Under ``1f1b`` the first
rank starts as many as there are ranks before the first comes back. Under ``interleaved`` micro-batches come in rounds:
a rank starts a round in each of its stages but the last, and two passes more for each rank behind it.
"""

from dataclasses import dataclass

from internlm2_parallel.search.plans import Plan


@dataclass(frozen=True)
class Place:
    """A rank's place in a pipeline.

    Attributes:
        plan: How it is trained.
        layers: Blocks of all stages.
        rank: Among the ranks of the pipeline.
    """

    plan: Plan
    layers: int
    rank: int

    @property
    def is_first(self) -> bool:
        """Whether it has the embedding."""
        return self.rank == 0

    @property
    def is_last(self) -> bool:
        """Whether it has norm, head and loss."""
        return self.rank == self.plan.layout.pipeline - 1

    @property
    def blocks(self) -> int:
        """Blocks of its stages, as `blocks_of_stages` deals them out."""
        ranks, stages = self.plan.layout.pipeline, self.plan.stages_per_rank
        each, over = divmod(self.layers, ranks * stages)
        return stages * each + sum(stage < over for stage in range(self.rank, ranks * stages, ranks))

    @property
    def passes(self) -> int:
        """Passes that are in flight."""
        ranks, stages, pieces = self.plan.layout.pipeline, self.plan.stages_per_rank, self.plan.micro_batches
        behind = ranks - 1 - self.rank
        if stages == 1:
            return min(pieces, behind + 1)
        a_round = pieces // max(1, pieces // ranks)
        return min(stages * pieces, (stages - 1) * a_round + 2 * behind + 1)

    @property
    def hidden_states(self) -> float:
        """Hidden states at the borders of stages, and gradients of these, beside what blocks keep of their passes.

        What stages receive has a place for each micro-batch, all the time. What they have sent stays until the pass
        ends under ``1f1b``, and under ``interleaved`` until all do.
        """
        stages, pieces = self.plan.stages_per_rank, self.plan.micro_batches
        take, give = stages - self.is_first, stages - self.is_last
        received: float = pieces * (take + give)
        if not self.plan.layout.sequence_parallel:
            received -= self.passes * take / stages  # inputs of blocks, which keep these
        if stages == 1:
            return received + self.passes * give
        ended = stages * pieces - self.passes
        return received + pieces * give + ended * take / stages
