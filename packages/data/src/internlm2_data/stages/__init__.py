"""Stages over shards: how documents flow, are counted, and a killed run resumes.

    DIR/NAME/00000.jsonl.zst            what a stage kept, one file a shard
    DIR/excluded/NAME-00000.jsonl.zst   what it dropped, each document with the reason at the end of its trail
    DIR/_shards/NAME/00000.json         the shard's manifest: fingerprint, counts, faults. Written last.
    DIR/funnel.json                     the sum of all manifests

A shard whose manifest carries the right fingerprint is done and is not touched again. The fingerprint covers the
inputs, the stage's configuration and the fingerprints of the shard's forerunners, so that a change anywhere redoes
what depends on it.
"""

from internlm2_data.stages.funnel import Funnel
from internlm2_data.stages.run import StageRun
from internlm2_data.stages.sieves import FormatSieve, RuleSieve
from internlm2_data.stages.tally import Tally

__all__ = ["FormatSieve", "Funnel", "RuleSieve", "StageRun", "Tally"]
