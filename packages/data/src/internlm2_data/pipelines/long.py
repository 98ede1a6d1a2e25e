"""`pipeline=long` (report section 3.1.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm2_data.executor import Executor
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.long import LengthSieve, PerplexityFilter
from internlm2_data.stages.funnel import Funnel
from internlm2_data.stages.run import SHARD_BYTES, StageRun, input_shards
from internlm2_data.stages.sieves import RuleSieve
from internlm2_data.verdict import Rules


@dataclass(frozen=True)
class LongPipeline:
    """Length selection and statistical filters, and where one is given the perplexity filter.

    The result is in the folder of the last stage: `perplexity/`, or `statistics/` without that filter.

    Attributes:
        rules: The statistical filters by name, in order.
        perplexity: The perplexity filter. None leaves it out.
        min_bytes: Longer documents are chosen.
        shard_bytes: Small inputs are grouped to shards of about this size.
    """

    rules: Rules
    perplexity: PerplexityFilter | None = None
    min_bytes: int = 32 << 10
    shard_bytes: int = SHARD_BYTES

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """See `Pipeline`. Inputs are what other pipelines left."""
        run = StageRun(output, executor, store=store)
        shards = run.sift("length", LengthSieve(self.min_bytes), input_shards(expand_inputs(inputs), self.shard_bytes))
        run.require_documents(inputs)
        absent = [] if self.perplexity else ["perplexity of neighbouring segments"]
        shards = run.sift("statistics", RuleSieve.of(self.rules, absent=absent), shards)
        if self.perplexity:
            shards = run.sift("scores", self.perplexity.scores, shards)
            run.sift("perplexity", RuleSieve([self.perplexity.rule]), shards)
        funnel = Funnel(run.reports)
        funnel.write(output)
        funnel.show()
