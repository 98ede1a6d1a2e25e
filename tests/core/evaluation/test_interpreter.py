import json
import re
from pathlib import Path

import pytest
from internlm2_core.evaluation.interpreter import ChatTurns, Interpreter, ReAct
from internlm2_core.evaluation.interpreter.observing import observation, shortened
from internlm2_core.evaluation.interpreter.problems import problem_of
from internlm2_core.sandbox import Isolation, Limits, Outcome, SandboxUnavailableError

from .test_instructions import RECORDS, write

GSM = [
    {"question": "Ann has 3 boxes of 14 pens. How many pens?", "answer": "3*14=42\n#### 42"},
    {"question": "小明有1000元，又得到234元。一共多少？", "answer": "#### 1,234", "language": "zh", "id": "z"},
]
CALL = "<|action_start|><|interpreter|>\n"


def chat(prompt: str) -> str:
    """Writes a program first, and says its output afterwards."""
    assert "system name=<|interpreter|>\nYou can run Python" in prompt
    if "environment name=<|interpreter|>" in prompt:
        return "It is " + re.findall(r"environment name=<\|interpreter\|>\n(.*?)<\|im_end\|>", prompt)[-1]
    code = "print(3 * 14)" if "Ann" in prompt else "1000 + 234"
    return f"Let me compute.{CALL}```python\n{code}\n```"


def react(prompt: str) -> str:
    if "Observation: 42" in prompt or "Observation: 1234" in prompt:
        return "Thought: I know.\nFinal Answer: 42 or 1234"
    code = "3 * 14" if "Ann" in prompt else "1000 + 234"
    return f"Thought: compute\nAction: Python\nAction Input:\n```python\nx = {code}\nx\n```\nObservation: 7\nFinal Answer: 7"


def test_programs_are_run_and_their_output_is_shown(tmp_path: Path, scripted, progress) -> None:
    result = Interpreter(write(tmp_path / "a.jsonl", GSM)).run(scripted(chat), progress)
    figures = dict(result.figures)
    assert "user" in figures.pop("sandbox")
    assert figures == {
        "accuracy": 1.0,
        "count": 2,
        "languages": {"en": {"accuracy": 1, "count": 1}, "zh": {"accuracy": 1, "count": 1}},
        "tasks": {
            "gsm8k": {
                "accuracy": 1,
                "count": 2,
                "languages": {"en": {"accuracy": 1, "count": 1}, "zh": {"accuracy": 1, "count": 1}},
            }
        },
        "steps": {"count": 2, "accuracy": 1},
        "programs": {"count": 2, "ran": 1, "steps_with_one": 1},
    }
    assert result.samples[1] == {
        "id": "z", "task": "gsm8k", "language": "zh", "correct": True,
        "steps": [
            {
                "question": GSM[1]["question"], "check": {"kind": "number", "value": "1,234"},
                "programs": [{"code": "1000 + 234", "status": "ok", "output": "1234"}], "answer": "It is 1234",
                "correct": True,
            }
        ],
    }  # fmt: skip


def test_what_the_model_sees_is_its_own_format(tmp_path: Path, scripted, progress) -> None:
    seen = []

    def answer(prompt: str) -> str:
        seen.append(prompt)
        return chat(prompt)

    Interpreter(write(tmp_path / "a.jsonl", GSM[:1]), ChatTurns(system="You can run Python.")).run(
        scripted(answer), progress
    )
    assert seen[1] == (
        "<|im_start|>system name=<|interpreter|>\nYou can run Python.<|im_end|>\n"
        "<|im_start|>user\nAnn has 3 boxes of 14 pens. How many pens?<|im_end|>\n"
        "<|im_start|>assistant\nLet me compute.<|action_start|><|interpreter|>\n```python\nprint(3 * 14)\n```"
        "<|action_end|><|im_end|>\n<|im_start|>environment name=<|interpreter|>\n42<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_react_is_plain_text_and_made_up_observations_are_left_out(tmp_path: Path, scripted, progress) -> None:
    result = Interpreter(write(tmp_path / "a.jsonl", GSM[:1]), ReAct()).run(scripted(react), progress)
    (step,) = result.samples[0]["steps"]
    assert step["programs"] == [{"code": "x = 3 * 14\nx", "status": "ok", "output": "42"}]
    assert step["answer"] == "42 or 1234" and not step["correct"]


def test_a_notebook_keeps_its_variables_and_files_over_its_steps(tmp_path: Path, scripted, progress) -> None:
    notebook = {
        "id": "n", "task": "csv", "language": "en", "files": {"data.csv": "a,b\n1,2\n3,4\n"},
        "steps": [
            {"question": "Load data.csv."},
            {"question": "Sum b.", "check": {"kind": "exact", "accept": ["6"]}, "of": "output"},
            {"question": "Is it even?", "check": {"kind": "contains", "all": ["yes"]}},
        ],
    }  # fmt: skip

    def answer(prompt: str) -> str:
        asked = prompt.rpartition("<|im_start|>user\n")[2]
        if "environment" in asked:
            return "Done."
        if "Load" in asked:
            return f"{CALL}import csv\nrows = list(csv.DictReader(open('data.csv')))"
        return f"{CALL}sum(int(row['b']) for row in rows)" if "Sum" in asked else "yes"

    result = Interpreter(write(tmp_path / "a.jsonl", [notebook])).run(scripted(answer), progress)
    assert result.figures["steps"] == {"count": 2, "accuracy": 1.0}
    assert result.figures["programs"] == {"count": 2, "ran": 1.0, "steps_with_one": 2 / 3}
    assert [step["correct"] for step in result.samples[0]["steps"]] == [None, True, True]


def test_a_model_that_never_answers_is_stopped_and_its_faults_are_shown(tmp_path: Path, scripted, progress) -> None:
    seen = []

    def answer(prompt: str) -> str:
        seen.append(prompt)
        return f"again{CALL}1 / 0" if len(seen) < 3 else f"again{CALL}while True: pass"

    task = Interpreter(write(tmp_path / "a.jsonl", GSM[:1]), programs=3, limits=Limits(seconds=0.5))
    result = task.run(scripted(answer), progress)
    (step,) = result.samples[0]["steps"]
    assert [program["status"] for program in step["programs"]] == ["error", "error", "timeout"]
    assert step["answer"] == "again" and step["correct"] is False
    assert "ZeroDivisionError: division by zero<|im_end|>" in seen[1]
    assert "took too long" in seen[3] and len(seen) == 4
    assert result.figures["programs"]["ran"] == 0


def test_without_isolation_nothing_is_asked(tmp_path: Path, scripted, progress) -> None:
    class Missing:
        def isolation(self) -> Isolation:
            raise SandboxUnavailableError("Programs cannot be isolated here.")

    with pytest.raises(SandboxUnavailableError):
        Interpreter(write(tmp_path / "a.jsonl", GSM), sandbox=Missing()).run(scripted(None), progress)


def test_the_forms_of_records() -> None:
    maths = problem_of({"problem": "1+1?", "answer": "2", "subject": "Algebra", "unique_id": "u"})
    assert (maths.id, maths.task, maths.steps[0].check) == ("u", "Algebra", {"kind": "boxed", "value": "2"})
    assert problem_of(RECORDS[0]).steps[0].question == "0 + 1?"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"question": "?", "answer": "7"}, "must end with ####"),
        ({"text": "x"}, r"keys=\['text'\] must hold one of steps, question, problem, messages"),
        ({"id": "1", "task": "t", "language": "en", "steps": [{"question": "?"}]}, "must have one with a check"),
        (
            {"id": "1", "task": "t", "language": "en", "steps": [{"question": "?", "of": "all"}]},
            "of='all' must be one of",
        ),
        ({"question": "?", "answer": "#### 7", "files": ["x"]}, "must be texts by name"),
        ({"question": "?", "answer": "#### seven"}, "value must be a number"),
    ],
)
def test_records_that_cannot_be_used(record: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        problem_of(record)


def test_observations() -> None:
    assert observation(Outcome("ok", "a\n", "warning\n", 0.1, 0), 100) == "a"
    assert observation(Outcome("error", "a\n", "Fault\n", 0.1, 1), 100) == "a\nFault"
    assert observation(Outcome("ok", "", "", 0.1, 0), 100) == ""
    assert shortened("0123456789", 4) == "01\n[6 characters left out]\n89"


def test_real_problems_can_be_read(real_data: Path) -> None:
    from internlm2_core.evaluation.records import placed_records

    for name, count in (("gsm8k/test.jsonl.gz", 1319), ("math500.jsonl.gz", 500)):
        problems = [placed.parse(problem_of) for placed in placed_records(real_data / "eval" / name)]
        assert len(problems) == count
        assert json.dumps(problems[0].steps[0].check)
