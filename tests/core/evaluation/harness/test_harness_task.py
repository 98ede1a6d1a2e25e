"""lm-eval's tasks by their names, from files, without a network."""

import json
import socket
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from internlm2_core.evaluation import evaluate
from internlm2_core.evaluation.harness import HarnessTask
from internlm2_core.evaluation.harness.data import LocalData
from internlm2_core.evaluation.harness.loading import LocalFactory, load
from internlm2_core.generation import Completion
from internlm2_core.sandbox import SandboxUnavailableError, run_program
from internlm2_records import read_objects


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("a test must not reach for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def in_sandbox() -> None:
    try:
        run_program("")
    except SandboxUnavailableError as error:
        pytest.skip(str(error))


class Says:
    """An engine that says the same to every prompt that holds a word."""

    def __init__(self, tokenizer: Any, answers: dict[str, str]) -> None:
        self.tokenizer, self.answers = tokenizer, answers

    def generate(self, prompts: Any, sampling: Any) -> list[Completion]:
        texts = [self.tokenizer.decode(prompt) for prompt in prompts]
        said = [next(answer for word, answer in self.answers.items() if word in text) for text in texts]
        return [Completion(self.tokenizer.encode(text)[: sampling.max_new_tokens]) for text in said]


def test_figures_equal_those_of_lm_eval_with_transformers(ours: Any, peer: Any, exams: Path) -> None:
    from lm_eval.evaluator import evaluate as peers_evaluate

    subject, peer._max_length = ours().subject, 600
    for name, shots, limit in (("mmlu_anatomy", 2, 4), ("gsm8k", 1, 1), ("wikitext", 0, 2)):
        task = HarnessTask(name, data=str(exams), shots=shots, limit=limit, max_length=600)
        figures = task.run(subject, lambda done, total: None).figures
        loaded = load(name, LocalFactory(LocalData(exams), shots, False, {}), subject.tokenizer)
        expected = peers_evaluate(peer, loaded, limit=limit, bootstrap_iters=0)["results"][name]
        for metric in figures["tasks"][name]["metrics"]:
            assert metric["value"] == pytest.approx(expected[f"{metric['name']},{metric['filter']}"])
        assert (figures["count"], figures["tasks"][name]["shots"]) == (limit, shots)
        assert figures["score"] == figures["tasks"][name]["metrics"][0]


def test_a_group_says_which_of_its_tasks_have_no_data(ours: Any, exams: Path) -> None:
    subject = ours().subject
    with pytest.raises(FileNotFoundError, match=r"The task mmlu_\w+ needs the split test of mmlu: .* has no such rows"):
        HarnessTask("mmlu", data=str(exams), shots=0).prepare(subject)
    result = HarnessTask("mmlu", data=str(exams), missing="leave_out").run(subject, lambda done, total: None)
    assert set(result.figures["tasks"]) == {"mmlu_abstract_algebra", "mmlu_anatomy"}
    assert len(result.figures["left_out"]) == 55
    assert {len(result.samples), result.figures["count"]} == {12}
    parts = [result.figures["tasks"][name]["metrics"][0]["value"] for name in sorted(result.figures["tasks"])]
    assert result.figures["score"]["value"] == pytest.approx(sum(parts) / 2)  # both have six questions
    first = result.samples[0]
    assert first["question"].startswith("What is 94 and two?\nA. 94\nB. 95")
    assert first["target"] in (2, "2", " C", "C")
    assert first["choices"] == [" A", " B", " C", " D"]


def test_programs_are_scored_in_the_sandbox(ours: Any, exams: Path, in_sandbox: None) -> None:
    model = ours()
    right, wrong = "    return n + n\n", "    return n\n"
    for task, answers, score in (
        ("humaneval", {"def double": right}, 1.0),
        ("humaneval", {"def double": wrong + "\ndef double(n): return 8"}, 0.0),  # cut at the next definition
        ("mbpp", {"BEGIN": "def add(a, b): return b + a[DONE] and so on"}, 1.0),
        ("mbpp", {"BEGIN": "def add(a, b): return a"}, 0.0),
    ):
        object.__setattr__(model.subject, "engine", Says(model.subject.tokenizer, answers))
        exam = HarnessTask(task, data=str(exams), limit=1, max_length=4096)
        assert exam.run(model.subject, lambda done, total: None).figures["score"]["value"] == score


def test_mistakes(ours: Any, exams: Path, tmp_path: Path) -> None:
    subject = ours().subject
    with pytest.raises(
        FileNotFoundError, match=r"The task hellaswag needs the split validation of hellaswag: .*/hellaswag/validation"
    ):
        HarnessTask("hellaswag", data=str(exams)).prepare(subject)
    with pytest.raises(FileNotFoundError, match=r"needs the split train of gsm8k: .*/gsm8k/train.jsonl does not exist"):
        (tmp_path / "gsm8k").mkdir()
        (tmp_path / "gsm8k/test.jsonl").write_text(json.dumps({"question": "a", "answer": "#### 1"}))
        HarnessTask("gsm8k", data=str(tmp_path)).prepare(subject)
    with pytest.raises(FileNotFoundError, match=r"data=.*/nowhere is not a folder"):
        HarnessTask("gsm8k", data=str(tmp_path / "nowhere")).prepare(subject)
    with pytest.raises(
        FileNotFoundError, match=r"ifeval counts sentences with nltk: .*/nltk_data/tokenizers/punkt_tab"
    ):
        HarnessTask("ifeval", data=str(exams)).prepare(subject)
    with pytest.raises(ValueError, match=r"shots=-1 of gsm8k must be 0 or more"):
        HarnessTask("gsm8k", shots=-1)


def test_the_job_runs_tasks_by_name(folder: Path, exams: Path, tmp_path: Path) -> None:
    suite = {"mmlu": HarnessTask("mmlu", data=str(exams), missing="leave_out", limit=2)}
    others = lambda name: HarnessTask(name, data=str(exams), limit=2)  # noqa: E731
    metrics = evaluate(str(folder), suite, str(tmp_path), tasks=["mmlu", "wikitext"], others=others, device="cpu")
    schema = json.loads((files("internlm2_core") / "evaluation/schema.json").read_text())
    jsonschema.validate(metrics, schema)
    assert list(metrics["tasks"]) == ["mmlu", "wikitext"]
    assert len(read_objects(tmp_path / "samples/mmlu.jsonl")) == metrics["tasks"]["mmlu"]["count"] == 4
    with pytest.raises(ValueError, match=r"tasks=\['gsm8k'\] must be of the suite, which has mmlu"):
        evaluate(str(folder), suite, str(tmp_path), tasks=["gsm8k"], device="cpu")
