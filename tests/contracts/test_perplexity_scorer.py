"""conf brings data's perplexity filter and core's models together, which know nothing of each other."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import call
from internlm2_core.evaluation import ContinuationLoss
from internlm2_data.io import ShardReader
from internlm2_data.long.segments import segments

TEXT = "The herring came late that year. Nobody had seen so many boats in the harbour. " * 12


@pytest.fixture
def model(save_random_model, tmp_path) -> Path:
    sizes = {
        "layers": 1,
        "dim": 32,
        "num_kv_heads": 1,
        "q_per_kv": 2,
        "ffn_dim": 48,
        "head_dim": 16,
        "max_positions": 512,
    }
    return save_random_model(tmp_path / "model", **sizes)


def test_documents_are_scored_by_a_model_folder(model, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": TEXT, "language": "en"}))
    words = [
        "pipeline=long_perplexity", f"inputs=[{tmp_path / 'in.jsonl'}]", f"output={tmp_path / 'out'}", "+executor.workers=0",
        f"pipeline.perplexity.scores.scorer.checkpoint={model}", "+pipeline.perplexity.scores.segment_bytes=200",
        "pipeline.min_bytes=100", "~pipeline.rules.thresholds", "+pipeline.perplexity.rule.thresholds={en: -9}",
    ]  # fmt: skip
    with initialize_config_module("internlm2_conf", version_base="1.3"):
        call(compose("process", words).job)
    (document,) = [d for path in (tmp_path / "out/perplexity").glob("*.zst") for d in ShardReader(path)]
    (note,) = [note for note in document.trail if note["rule"] == "perplexity.gain"]
    first, second, *_ = segments(TEXT, 200)
    (alone, count), (after, same) = ContinuationLoss(str(model), "cpu").losses([("", second), (first, second)])
    assert count == same and note["gains"][0] == pytest.approx((alone - after) / count, abs=1e-3)
    assert len(note["gains"]) == len(segments(TEXT, 200)) - 1
