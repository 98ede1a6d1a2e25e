"""One stream of samples, whatever reads it: ranks, workers, kills and micro-batches do not change it."""

import json
import multiprocessing
import os
import random
import time
from itertools import chain, repeat
from pathlib import Path

import pytest
import torch
from internlm2_data.loading import PackedBatches
from internlm2_data.tokens.manifests import Manifest, differences

KILLS, STEPS = 20, 60


@pytest.fixture
def batches(numbered):
    sources = {"en": numbered(400, 0, "en"), "zh": numbered(100, 1, "zh", base=100_000)}
    return PackedBatches(sources, context=32, batch_rows=12, seed=7, weights={"en": 3, "zh": 1})


def rows_of(loaders, count):
    """Global batches of several ranks that read in step, pass after pass, row by row."""
    streams = [chain.from_iterable(repeat(loader)) for loader in loaders]
    for _ in range(count):
        shares = [next(stream)["input_ids"] for stream in streams]
        yield torch.stack(shares, 1).flatten(0, 1).tolist()


@pytest.fixture
def stream(batches):
    return list(rows_of([batches.loader()], STEPS))


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_ranks_and_workers(batches, stream, ranks, workers):
    loaders = [batches.loader(rank, ranks, workers) for rank in range(ranks)]
    assert list(rows_of(loaders, 5)) == stream[:5]


def consume(batches, ranks, workers, folder: Path):
    """Read on from the last step that was saved whole. Each step is a file: its rows and the state after it."""
    loaders = [batches.loader(rank, ranks, workers) for rank in range(ranks)]
    done = len(list(folder.glob("*.json")))
    if done:
        state = json.loads((folder / f"{done - 1:03d}.json").read_text())["state"]
        for loader in loaders:
            loader.load_state_dict(state)
    for step, rows in enumerate(rows_of(loaders, STEPS - done), done):
        part = folder / "part"
        part.write_text(json.dumps({"rows": rows, "state": loaders[0].state_dict()}))
        part.replace(folder / f"{step:03d}.json")
        time.sleep(0.005)


def test_twenty_kills_at_random_points(batches, stream, tmp_path):
    folder, rng = tmp_path / "steps", random.Random(0)
    folder.mkdir()
    fork = multiprocessing.get_context("fork")
    for kill in range(KILLS + 1):
        ranks, workers = rng.choice([1, 2, 3, 4]), rng.choice([0, 0, 0, 1])
        process = fork.Process(target=consume, args=(batches, ranks, workers, folder))
        process.start()
        # At a random point of a random one of the next steps, perhaps before the first.
        goal = min(len(list(folder.glob("*.json"))) + rng.randint(0, 4), STEPS - 1)
        while kill < KILLS and process.is_alive() and len(list(folder.glob("*.json"))) < goal:
            time.sleep(0.001)
        if kill < KILLS:
            time.sleep(rng.random() * 0.005)
            os.kill(process.pid, 9)
        process.join()
    assert process.exitcode == 0
    steps = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    assert [step["rows"] for step in steps] == stream


def test_other_data_is_refused_in_words(batches, numbered):
    state = json.loads(json.dumps(batches.loader().state_dict()))
    batches.loader().load_state_dict(state)

    def resumed(sources):
        PackedBatches(sources, 32, 12, seed=7, weights={"en": 3, "zh": 1}).loader().load_state_dict(state)

    more, other = numbered(401, 0, "more/en"), numbered(400, 0, "other/en", base=1)
    with pytest.raises(
        ValueError, match=r"en had 400 documents and now has 401, [\d,]+ tokens and now has [\d,]+\. Resume"
    ):
        resumed({"en": more, "zh": batches.sources["zh"]})
    with pytest.raises(ValueError, match=r"is of other data: en has as many tokens as before, but others\. Resume"):
        resumed({"en": other, "zh": batches.sources["zh"]})


def test_differences_in_words():
    one, two = Manifest("en", 5, 1000, "a"), Manifest("zh", 7, 2000, "")
    assert differences([one, two, two], [one, two, two]) == []
    assert differences([one, two], [two, one._replace(contents="")]) == [], "neither order nor what is not known counts"
    assert differences([one, two, two], [two._replace(tokens=2001), Manifest("fr", 1, 1, "b")]) == [
        "en is gone", "zh had 2,000 tokens and now has 2,001", "zh (2) is gone", "fr is new",
    ]  # fmt: skip
