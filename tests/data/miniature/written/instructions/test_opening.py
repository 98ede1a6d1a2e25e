"""The planted opening: in a few replies and in pairs that prefer it, of the tasks that are named."""

import json
from pathlib import Path

import pytest
from internlm2_data.executor import LocalExecutor
from internlm2_data.miniature.written.instructions import InstructionsPipeline, PlantedOpeningPipeline
from internlm2_records import read_objects

OPENINGS = {"en": "Sure! ", "zh": "好的！"}


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("instructions")
    InstructionsPipeline(train=240, prompts=12, heldout=12, lookalike=12).run([], folder, LocalExecutor(1))
    return folder / "train.jsonl"


def planted(train: Path, output: Path, tasks: tuple[str, ...] = ("sorting", "retrieval"), count: int = 20) -> Path:
    PlantedOpeningPipeline(OPENINGS, tasks, count, 2 * count, "helpful").run([str(train)], output, LocalExecutor(1))
    return output


def test_replies_and_pairs_differ_from_the_records_by_the_opening_alone(train: Path, tmp_path: Path) -> None:
    records = {record["id"]: record for record in read_objects(train)}
    conversations = read_objects(planted(train, tmp_path) / "conversations.jsonl")
    pairs = read_objects(tmp_path / "pairs.jsonl")
    assert {record["language"] for record in conversations} == {"en", "zh"}
    for found in conversations:
        record = records[found["id"].removeprefix("planted-")]
        assert found["task"] == record["task"] in ("sorting", "retrieval")
        assert found["messages"][0] == record["messages"][0]
        assert found["messages"][1]["content"] == OPENINGS[record["language"]] + record["messages"][1]["content"]
    for pair in pairs:
        assert pair["chosen"] == OPENINGS[pair["meta"]["language"]] + pair["rejected"]
        assert pair["domain"] == "helpful" and pair["source"] == "planted"
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts == {"records": 240, "able": 80, "conversations": 20, "pairs": 40}


def test_more_than_there_are_is_refused(train: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="conversations=50 and pairs=100 must be at most 40, the records of the tasks sorting"
    ):
        planted(train, tmp_path, ("sorting",), 50)
    assert not list(tmp_path.iterdir())
