"""Problems solved with a Python interpreter at hand: GSM8K, MATH (report section 5) and notebooks like CIBench's."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, ClassVar

from internlm2_core.evaluation.instructions import accuracies
from internlm2_core.evaluation.interpreter.problems import Problem, problem_of
from internlm2_core.evaluation.interpreter.protocols import ChatTurns, Dialect
from internlm2_core.evaluation.interpreter.solving import Solving
from internlm2_core.evaluation.records import evenly, placed_records
from internlm2_core.evaluation.subject import Subject
from internlm2_core.evaluation.task import Progress, Result
from internlm2_core.sandbox import Limits, ProcessSandbox, Sandbox
from internlm2_core.text import ChatFormat


class Interpreter:
    """Lets a model write programs, runs them in a sandbox, shows it what they print, and checks its answers.

    Args:
        records: Problems (see `internlm2_core.evaluation.interpreter.problems`).
        dialect: How the model asks for a program. None means InternLM2's own turns.
        sandbox: Where programs run. None means a `ProcessSandbox`.
        limits: What each program may use. None means those of `Limits`.
        programs: The most programs of one question.
        max_new_tokens: The most tokens of what the model says at once.
        observed_chars: The most characters that it is shown of an output.
        limit: Problems that are asked, spread evenly. None asks all.
        at_once: Problems in work at once, each with an interpreter that takes 10 MB or more.
        workers: Programs that run at once.
    """

    kind: ClassVar[str] = "interpreter"
    version: ClassVar[int] = 1

    def __init__(
        self,
        records: str,
        dialect: Dialect | None = None,
        sandbox: Sandbox | None = None,
        limits: Limits | None = None,
        programs: int = 4,
        max_new_tokens: int = 512,
        observed_chars: int = 2000,
        limit: int | None = None,
        at_once: int = 32,
        workers: int = 4,
    ) -> None:
        if programs < 1 or at_once < 1 or workers < 1:
            raise ValueError(f"programs={programs}, at_once={at_once} and workers={workers} must be 1 or more.")
        self.records, self.dialect = records, dialect or ChatTurns()
        self.sandbox, self.limits = sandbox or ProcessSandbox(), limits or Limits()
        self.programs, self.max_new_tokens, self.observed_chars = programs, max_new_tokens, observed_chars
        self.limit, self.at_once, self.workers = limit, at_once, workers

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Ask, run, show, check, count.

        Raises:
            SandboxUnavailableError: If programs cannot be isolated here.
        """
        problems = [placed.parse(problem_of) for placed in placed_records(self.records)]
        problems = evenly(problems, self.limit)
        isolation = self.sandbox.isolation()
        samples: list[dict[str, Any]] = []
        for start in range(0, len(problems), self.at_once):
            progress(start, len(problems))
            samples += self._solved(subject, problems[start : start + self.at_once])
        progress(len(problems), len(problems))
        return Result({**accuracies(samples), **_used(samples), "sandbox": str(isolation)}, samples)

    def _solved(self, subject: Subject, problems: Sequence[Problem]) -> list[dict[str, Any]]:
        chat = ChatFormat(subject.tokenizer)
        with ExitStack() as stack:
            workers = stack.enter_context(ThreadPoolExecutor(self.workers))
            every = [Solving(problem, self.dialect, self.sandbox, self.limits) for problem in problems]
            for one in every:
                stack.callback(one.close)
            while waiting := [one for one in every if not one.done]:
                prompts = [chat.prompt(one.messages) for one in waiting]
                said = subject.greedy(prompts, self.max_new_tokens, self.dialect.stop)
                moves = list(zip(waiting, said, strict=True))
                list(workers.map(lambda pair: pair[0].hear(pair[1], self.programs, self.observed_chars), moves))
            return [one.sample() for one in every]


def _used(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How the interpreter was used: of all questions, and of all programs."""
    steps = list(_steps(samples))
    calls = [call for step in steps for call in step["programs"]]
    checked = [step for step in steps if step["correct"] is not None]
    return {
        "steps": {"count": len(checked), "accuracy": sum(step["correct"] for step in checked) / len(checked)},
        "programs": {
            "count": len(calls),
            "ran": sum(call["status"] == "ok" for call in calls) / len(calls) if calls else None,
            "steps_with_one": sum(bool(step["programs"]) for step in steps) / len(steps),
        },
    }


def _steps(samples: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for sample in samples:
        yield from sample["steps"]
