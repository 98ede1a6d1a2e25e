"""The sets: what is tested is apart from all else, balanced, the same for the same seed."""

import json
from collections import Counter

import pytest
from internlm2_data.executor import LocalExecutor
from internlm2_data.jobs import process
from internlm2_data.miniature.written.instructions import TASKS, InstructionsPipeline, Shares, write_set
from internlm2_data.miniature.written.instructions.sets import cell_sizes


def question(record):
    return record["messages"][0]["content"]


def content(record):
    """What must not be shared, found without the code that draws: for a list the list, else the whole text."""
    if record["task"] == "sorting":
        return record["task"], record["answer"]
    if record["task"] in ("copying", "formatting"):
        return record["task"], record["answer"]
    return record["task"], question(record)


def test_sets_are_disjoint_by_content(sets):
    contents = {name: {content(record) for record in records} for name, records in sets.items()}
    assert not contents["train"] & contents["heldout"]
    assert not contents["train"] & contents["lookalike"]
    assert not contents["heldout"] & contents["lookalike"]
    assert not contents["prompts"] & (contents["heldout"] | contents["lookalike"])


@pytest.mark.parametrize("task", [task for task in TASKS if task not in ("copying", "formatting")])
def test_training_leaves_out_a_share_of_the_prompts(task):
    alone = dict.fromkeys(TASKS, 0.0) | {task: 1.0}
    train, prompts = ({*map(content, write_set(name, 4000, 3, Shares(), alone))} for name in ("train", "prompts"))
    trainable = {*map(content, write_set("train", 4000, 5, Shares(), alone))}
    # Of 0.76, the share of all instances that are prompts, 0.1 are not in training.
    if task == "arithmetic":
        assert len(prompts - train - trainable) / len(prompts) == pytest.approx(0.1 / 0.76, abs=0.03)
    elif task == "sorting":
        assert len(prompts - train - trainable) / len(prompts) == pytest.approx(0.1 / 0.76, abs=0.08)
    else:
        assert len(prompts - train - trainable) / len(prompts) > 0.08


def test_what_is_held_out_is_held_out_for_every_seed(sets):
    held = {content(record) for record in sets["heldout"]}
    assert not held & {content(record) for record in write_set("train", 2400, 77, Shares())}


def test_every_held_out_sum_was_trained_on_in_another_wording():
    alone = dict.fromkeys(TASKS, 0.0) | {"arithmetic": 1.0}
    train, held = write_set("train", 4000, 3, Shares(), alone), write_set("heldout", 100, 4, Shares(), alone)

    def operation(record):
        text = question(record)
        sign = "-" if any(word in text for word in ("-", "minus", "take", "减", "差")) else "+"
        return sign, tuple(c for c in text if c.isdigit())

    trained = {operation(record) for record in train}
    assert {operation(record) for record in held} <= trained
    assert len(trained) == 155


def test_sets_are_balanced_and_ids_are_unique(sets):
    for name, records in sets.items():
        cells = Counter((record["task"], record["language"]) for record in records)
        assert set(cells) == {(task, language) for task in TASKS for language in ("en", "zh")}
        assert max(cells.values()) - min(cells.values()) <= 1
        assert len({record["id"] for record in records}) == len(records)
        if name in ("heldout", "lookalike"):
            assert len({question(record) for record in records}) == len(records)
    assert len(write_set("train", 13, 1, Shares())) == 13


def test_weights_of_tasks():
    sizes = cell_sizes(1000, {"arithmetic": 3, "sorting": 0})
    assert sum(sizes.values()) == 1000 and sizes["sorting", "zh"] == 0
    assert abs(sizes["arithmetic", "en"] - 1000 * 3 / 14) <= 1 and abs(sizes["copying", "en"] - 1000 / 14) <= 1
    for weights, message in (({"poetry": 1}, "weights name poetry"), ({"copying": -1}, "must not be negative")):
        with pytest.raises(ValueError, match=message):
            cell_sizes(10, weights)


def test_the_same_seed_gives_the_same_records():
    assert write_set("train", 60, 5, Shares()) == write_set("train", 60, 5, Shares())
    assert write_set("train", 60, 5, Shares()) != write_set("train", 60, 6, Shares())


def test_prompts_are_short(records):
    assert max(len(question(record)) for record in records) < 100


def test_more_than_there_is():
    with pytest.raises(ValueError, match=r"different instances of arithmetic in en .* raise the share of heldout"):
        write_set("heldout", 12_000, 1, Shares())


@pytest.mark.parametrize("shares", [(0.0, 0.1, 0.1), (0.1, 0.0, 0.1), (0.1, 0.1, 0.0), (0.2, 0.2, 0.2)])
def test_shares_out_of_range(shares):
    with pytest.raises(ValueError, match=r"heldout=.*, lookalike=.* and unseen=.* must be above 0"):
        Shares(*shares)


def test_pipeline_writes_four_sets_and_their_counts(tmp_path):
    pipeline = InstructionsPipeline(train=120, prompts=48, heldout=24, lookalike=36)
    process(pipeline, [], tmp_path / "a", LocalExecutor(0))
    process(pipeline, [], tmp_path / "b", LocalExecutor(0))
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert set(files) == {"train.jsonl", "prompts.jsonl", "heldout.jsonl", "lookalike.jsonl", "counts.json"}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    counts = json.loads(files["counts.json"])["sets"]
    sizes = {"train": 120, "prompts": 48, "heldout": 24, "lookalike": 36}
    assert {name: count["records"] for name, count in counts.items()} == sizes
    assert counts["heldout"]["refusing/zh"] == 2
    lines = files["lookalike.jsonl"].decode().splitlines()
    assert [role["role"] for role in json.loads(lines[0])["messages"]] == ["user", "assistant"]


def test_pipeline_takes_no_inputs(tmp_path):
    with pytest.raises(ValueError, match=r"inputs=\['somewhere'\] must be \[\]"):
        process(InstructionsPipeline(120, 48, 24, 36), ["somewhere"], tmp_path, LocalExecutor(0))
