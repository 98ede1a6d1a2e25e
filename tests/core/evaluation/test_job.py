import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from internlm2_core import LanguageModel
from internlm2_core.evaluation import Contamination, HeldOutLoss, Instructions, Needle, evaluate
from internlm2_core.evaluation.interpreter import Interpreter
from internlm2_core.evaluation.tools import Transcripts
from internlm2_core.evaluation.written import write_json
from internlm2_records import read_objects

from .test_held_out import Rows
from .test_instructions import RECORDS, write
from .test_interpreter import GSM
from .test_tools import CALL, place


def test_evaluate_writes_what_the_schema_says(tmp_path: Path, checkpoint: str, haystacks) -> None:
    records = write(tmp_path / "records.jsonl", RECORDS)
    suite = {
        "held_out": HeldOutLoss({"en-web": [list(range(20, 30))] * 3}, Rows, context=10),
        "needle": Needle(haystacks, [130], depths=[0, 1], trials=1),
        "instructions": Instructions(records, max_new_tokens=3, limit=1),
        "contamination": Contamination(records, records, records),
        "interpreter": Interpreter(write(tmp_path / "problems.jsonl", GSM), max_new_tokens=3),
        "tools": Transcripts(write(tmp_path / "places.jsonl", [place("retrieve", CALL)]), max_new_tokens=3),
    }
    metrics = evaluate(checkpoint, suite, str(tmp_path / "out"), device="cpu")
    stored = json.loads((tmp_path / "out/metrics.json").read_text())
    assert stored == metrics
    schema = json.loads((files("internlm2_core") / "evaluation/schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(stored, schema)
    assert stored["model"]["parameters"] == sum(w.numel() for w in LanguageModel(_size(stored)).parameters())
    assert len(read_objects(tmp_path / "out" / stored["tasks"]["needle"]["samples"])) == 4
    assert "samples" not in stored["tasks"]["held_out"]


def _size(stored: dict):
    from internlm2_core import ModelSize

    return ModelSize(**{k: v for k, v in stored["model"].items() if k not in ("checkpoint", "parameters")})


def test_mistakes(tmp_path: Path, checkpoint: str) -> None:
    with pytest.raises(ValueError, match=r"suite=\{\} must have one task"):
        evaluate(checkpoint, {}, str(tmp_path / "out"))
    with pytest.raises(FileNotFoundError):
        evaluate(str(tmp_path / "nothing"), {"a": None}, str(tmp_path / "out"))  # type: ignore[dict-item]


def test_numbers_that_json_lacks_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())
