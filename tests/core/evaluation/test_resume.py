"""An evaluation that is killed at any moment ends, when it is run again, with the figures of one that was not."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from internlm2_core.evaluation import Contamination, HeldOutLoss, Instructions, Needle, evaluate
from internlm2_core.evaluation.answers import AnswerStore, asked_of, in_batches
from internlm2_core.generation import Completion, LocalEngine, Sampling

from .test_held_out import Rows
from .test_instructions import RECORDS, write


class Slow(LocalEngine):
    """Answers one prompt after another, with a pause in which it can be killed."""

    def generate(self, prompts: Any, sampling: Sampling, on_token: Any = None) -> list[Completion]:
        time.sleep(0.02)
        return super().generate(prompts, sampling, on_token)


@pytest.fixture
def run(checkpoint: str, tmp_path: Path, haystacks: Any) -> Any:
    records = write(tmp_path / "records.jsonl", RECORDS)
    suite = {
        "held_out": HeldOutLoss({"en-web": [list(range(20, 30))] * 40}, Rows, context=10),
        "needle": Needle(haystacks, [130, 140], depths=[0, 0.5, 1], trials=2),
        "instructions": Instructions(records, max_new_tokens=3),
        "contamination": Contamination(records, records, records),
    }

    def once(output: Path, **settings: Any) -> dict[str, Any]:
        torch.set_num_threads(1)
        figures = evaluate(checkpoint, suite, str(output), Slow, "cpu", batch_tokens=40, answer_tokens=1, **settings)
        return without_seconds(figures)

    return once


def without_seconds(metrics: dict[str, Any]) -> dict[str, Any]:
    for task in metrics["tasks"].values():
        del task["seconds"]
    return metrics


def test_killed_at_random_moments(run: Any, tmp_path: Path) -> None:
    start = time.perf_counter()
    whole = run(tmp_path / "whole")
    took, rng, kills = time.perf_counter() - start, random.Random(4), 0
    fork = multiprocessing.get_context("fork")
    for _ in range(200):
        process = fork.Process(target=run, args=(tmp_path / "killed",))
        process.start()
        process.join(rng.uniform(0.05, 0.4) * took)
        if process.exitcode is not None:
            break
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    assert process.exitcode == 0
    assert kills >= 2
    killed = without_seconds(json.loads((tmp_path / "killed/metrics.json").read_text()))
    assert killed == whole
    for file in (tmp_path / "whole/samples").iterdir():
        assert (tmp_path / "killed/samples" / file.name).read_text() == file.read_text()


def test_what_was_computed_before_does_not_matter(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, left = run(tmp_path / "whole"), 37
    keep = AnswerStore.keep

    def stop(*given: Any) -> Any:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return keep(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # after all that is generated
        patch.setattr(AnswerStore, "keep", stop)
        run(tmp_path / "stopped")
    assert run(tmp_path / "stopped") == whole


def test_the_model_is_asked_once(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path / "out")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the model is asked again")

    with monkeypatch.context() as patch:
        patch.setattr("internlm2_core.evaluation.subject.Subject._losses", refuse)
        patch.setattr("internlm2_core.evaluation.subject.Subject._packed_loss", refuse)
        patch.setattr(Slow, "generate", refuse)
        assert run(tmp_path / "out") == first
        with pytest.raises(AssertionError, match="asked again"):
            run(tmp_path / "out", fresh=True)
    assert run(tmp_path / "out", fresh=True) == first


def test_answers_of_another_model_are_not_taken(checkpoint: str, tmp_path: Path) -> None:
    folder = Path(checkpoint)
    before = asked_of(folder, {"device": "cpu"})
    assert asked_of(folder, {"device": "cpu"}) == before
    assert asked_of(folder, {"device": "cuda"}) != before
    weights = next(folder.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert asked_of(folder, {"device": "cpu"}) != before
    store, other = AnswerStore(tmp_path / "a.sqlite", before), AnswerStore(tmp_path / "a.sqlite", "another")
    request = ["loss", [1]]
    store.keep([store.key(request)], [[0.5, 1]])
    assert store.all_of([store.key(request)]) == [[0.5, 1]]
    assert other.all_of([other.key(request)]) is None


def test_a_batch_is_computed_whole_or_not_at_all(tmp_path: Path) -> None:
    store, computed = AnswerStore(tmp_path / "a.sqlite", "model"), list[list[int]]()

    def compute(batch: Any) -> list[int]:
        computed.append(list(batch))
        return [10 * index + len(computed) for index in batch]

    requests = [["a"], ["b"], ["a"], ["c"]]
    # The second batch repeats a request of the first: what was kept first holds, now and later.
    first = in_batches(store, requests.__getitem__, [[0, 1], [2, 3]], compute, lambda done: None)
    assert first == [1, 11, 1, 32]
    assert in_batches(store, requests.__getitem__, [[0, 1], [2, 3]], compute, lambda done: None) == first
    assert computed == [[0, 1], [2, 3]]
    done = list[int]()
    in_batches(store, [*requests, ["d"]].__getitem__, [[0, 1], [2, 3, 4]], compute, done.append)
    assert computed[2:] == [[2, 3, 4]]
    assert done == [2, 5]
