"""`pipeline=web` (report section 3.1.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from internlm2_data.dedup import Dedup
from internlm2_data.executor import Executor
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.stages.funnel import Funnel
from internlm2_data.stages.run import SHARD_BYTES, StageRun, input_shards
from internlm2_data.stages.sieves import FormatSieve, RuleSieve
from internlm2_data.tokens.encoding import TextEncoder
from internlm2_data.verdict import Rules
from internlm2_data.web.formatting import Format


@dataclass(frozen=True)
class WebPipeline:
    """Documents through the five stages of the report.

    Attributes:
        format: Makes documents of inputs.
        clean: Rules of the Clean stage by name, in order. None takes one out.
        dedup: The Dedup stage.
        safe: Rules of the Safe stage by what they check. None where that is not configured.
        high_quality: The same for the High-quality stage.
        shard_bytes: Small inputs are grouped to shards of about this size.
        shards: Format of the stages' outputs.
        count_tokens_with: A `tokenizer.json`. The funnel then counts tokens too. None leaves them out.
    """

    format: Format
    clean: Rules
    dedup: Dedup = field(default_factory=Dedup)
    safe: Rules = field(default_factory=dict)
    high_quality: Rules = field(default_factory=dict)
    shard_bytes: int = SHARD_BYTES
    shards: Literal["jsonl.zst", "parquet"] = "jsonl.zst"
    count_tokens_with: str | None = None

    def __post_init__(self) -> None:
        """Check the format of shards."""
        if self.shards not in ("jsonl.zst", "parquet"):
            raise ValueError(f"shards={self.shards} must be jsonl.zst or parquet.")

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """See `Pipeline`."""
        files = expand_inputs(inputs)
        counter = TextEncoder(self.count_tokens_with) if self.count_tokens_with else None
        run = StageRun(output, executor, self.shards, counter, store)
        shards = run.sift("format", FormatSieve(self.format), input_shards(files, self.shard_bytes))
        run.require_documents(inputs)
        shards = run.sift("clean", RuleSieve.of(self.clean), shards)
        shards = self.dedup.run(run, shards)
        shards = run.sift("safe", RuleSieve.of(self.safe), shards)
        run.sift("high_quality", RuleSieve.of(self.high_quality), shards)
        funnel = Funnel(run.reports)
        funnel.write(output)
        funnel.show()
