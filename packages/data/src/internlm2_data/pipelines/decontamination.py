"""`pipeline=decontamination` (report section 3.3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from internlm2_data.decontamination import DecontaminationSieve, ItemFields, MatchSettings
from internlm2_data.decontamination.index import ItemIndex
from internlm2_data.decontamination.items import read_items
from internlm2_data.decontamination.report import write_report
from internlm2_data.executor import Executor
from internlm2_data.fingerprint import fingerprint
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.stages.funnel import Funnel
from internlm2_data.stages.manifest import is_done, write_json
from internlm2_data.stages.run import SHARD_BYTES, StageRun, input_shards
from internlm2_data.stores import local

STAGE = "decontaminated"


@dataclass(frozen=True)
class DecontaminationPipeline:
    """Takes documents with evaluation items out. The result is in `decontaminated/`, the matches in `matches.jsonl`.

    Attributes:
        evaluation: Files and folders of evaluation sets.
        fields: Where records of these files hold their parts.
        settings: What counts as an item.
        shard_bytes: Small inputs are grouped to shards of about this size.
    """

    evaluation: Sequence[str]
    fields: ItemFields = field(default_factory=ItemFields)
    settings: MatchSettings = field(default_factory=MatchSettings)
    shard_bytes: int = SHARD_BYTES

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """See `Pipeline`. Inputs are documents of any stage."""
        if not self.evaluation:
            raise ValueError("evaluation=[] must name files of evaluation sets.")
        files = [local(file) for file in expand_inputs(self.evaluation)]
        items, faults = read_items(files, self.fields)
        if not items:
            first = f" The first of {len(faults)} faults: {faults[0].to_json()}." if faults else ""
            raise ValueError(f"evaluation={list(self.evaluation)} hold no question.{first}")
        run, folder = StageRun(output, executor, store=store), output / "_shards" / STAGE / "index"
        made_by = fingerprint(files, self.fields, self.settings)
        if not is_done(folder / "manifest.json", made_by):
            (folder / "manifest.json").unlink(missing_ok=True)
            ItemIndex.of(items, self.settings).save(folder)
            write_json(folder / "manifest.json", {"made_by": made_by})
        sieve = DecontaminationSieve(files, self.settings, made_by, folder)
        run.sift(STAGE, sieve, input_shards(expand_inputs(inputs), self.shard_bytes))
        run.require_documents(inputs)
        funnel = Funnel(run.reports)
        funnel.write(output)
        write_report(output, STAGE, ItemIndex.load(folder), faults)
        funnel.show()
