"""`pipeline=long` (report section 3.1.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm2_data.executor import Executor
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.long import LengthSieve
from internlm2_data.stages.funnel import Funnel
from internlm2_data.stages.run import SHARD_BYTES, StageRun, input_shards
from internlm2_data.stages.sieves import RuleSieve
from internlm2_data.verdict import Rules


@dataclass(frozen=True)
class LongPipeline:
    """Length selection and statistical filters. The result is in `statistics/`.

    Attributes:
        rules: The statistical filters by name, in order.
        min_bytes: Longer documents are chosen.
        shard_bytes: Small inputs are grouped to shards of about this size.
    """

    rules: Rules
    min_bytes: int = 32 << 10
    shard_bytes: int = SHARD_BYTES

    def run(self, inputs: Sequence[str], output: Path, executor: Executor) -> None:
        """See `Pipeline`. Inputs are what other pipelines left."""
        run = StageRun(output, executor)
        shards = run.sift("length", LengthSieve(self.min_bytes), input_shards(expand_inputs(inputs), self.shard_bytes))
        run.require_documents(inputs)
        run.sift("statistics", RuleSieve.of(self.rules, absent=["perplexity of neighbouring segments"]), shards)
        funnel = Funnel(run.reports)
        funnel.write(output)
        funnel.show()
