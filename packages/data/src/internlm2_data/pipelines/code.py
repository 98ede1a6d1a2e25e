"""`pipeline=code` (report section 3.1.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm2_data.code import AssembleSieve, RepositorySieve, find_repositories
from internlm2_data.dedup import Dedup
from internlm2_data.executor import Executor
from internlm2_data.fingerprint import file_stamp, fingerprint
from internlm2_data.stages.funnel import Funnel
from internlm2_data.stages.run import Shard, StageRun
from internlm2_data.stages.sieves import RuleSieve
from internlm2_data.verdict import Rules


@dataclass(frozen=True)
class CodePipeline:
    """Repositories through files, clean, dedup and quality to one Markdown document each, in `repositories/`.

    Attributes:
        clean: Rules on files by name, in order.
        quality: Rules that sort files into classes, by name.
        dedup: File-level deduplication. Not by URL, since every repository has a setup.py.
        repositories_per_shard: How many are worked on together.
    """

    clean: Rules
    quality: Rules
    dedup: Dedup
    repositories_per_shard: int = 16

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """See `Pipeline`. Inputs are repositories or folders of repositories."""
        found = find_repositories(inputs)
        size = self.repositories_per_shard
        groups = [tuple(found[start : start + size]) for start in range(0, len(found), size)]
        run = StageRun(output, executor, store=store)
        shards = [Shard(group, fingerprint([file_stamp(folder) for folder in group])) for group in groups]
        shards = run.sift("files", RepositorySieve(), shards)
        run.require_documents(inputs)
        shards = run.sift("clean", RuleSieve.of(self.clean), shards)
        shards = self.dedup.run(run, shards)
        shards = run.sift("quality", RuleSieve.of(self.quality), shards)
        run.sift("repositories", AssembleSieve(), shards)
        funnel = Funnel(run.reports)
        funnel.write(output)
        funnel.show()
