"""One problem on its way: its conversation, its interpreter, and what came of each question."""

from typing import Any

from internlm2_records import Message

from internlm2_core.evaluation.checks import is_right
from internlm2_core.evaluation.interpreter.observing import observation
from internlm2_core.evaluation.interpreter.problems import Problem, Step
from internlm2_core.evaluation.interpreter.protocols import Dialect
from internlm2_core.sandbox import Limits, Sandbox, Session


class Solving:
    """A problem between two things that the model says.

    Args:
        problem: Its questions.
        dialect: How programs are asked for.
        sandbox: Where they run.
        limits: What each may use.

    Attributes:
        messages: The conversation, after which the model speaks.
    """

    def __init__(self, problem: Problem, dialect: Dialect, sandbox: Sandbox, limits: Limits) -> None:
        self.problem, self.dialect = problem, dialect
        self.session = Session(limits, sandbox, problem.files)
        self.messages: list[Message] = [*dialect.opening(), self._asks(0)]
        self.steps: list[dict[str, Any]] = []
        self._programs: list[dict[str, Any]] = []

    @property
    def done(self) -> bool:
        """Whether every question has its answer."""
        return len(self.steps) == len(self.problem.steps)

    def close(self) -> None:
        """End the interpreter."""
        self.session.close()

    def hear(self, said: str, programs: int, observed_chars: int) -> None:
        """Run the program that the model asks for, or take its answer.

        Args:
            said: What it generated.
            programs: The most programs of one question. What is said after them is the answer.
            observed_chars: The most characters that are shown of an output.
        """
        move = self.dialect.read(said)
        if move.code is None or len(self._programs) == programs:
            self._take(move.answer)
            return
        outcome = self.session.run(move.code)
        output = observation(outcome, observed_chars)
        self._programs.append({"code": move.code, "status": outcome.status, "output": output})
        self.messages += self.dialect.turns(move, output)

    def sample(self) -> dict[str, Any]:
        """The whole problem, for people who want to see why."""
        about = {"id": self.problem.id, "task": self.problem.task, "language": self.problem.language}
        return {**about, "correct": all(step["correct"] is not False for step in self.steps), "steps": self.steps}

    def _take(self, answer: str) -> None:
        step = self.problem.steps[len(self.steps)]
        output = self._programs[-1]["output"] if self._programs else ""
        about: dict[str, Any] = {"question": step.question, "check": step.check, "programs": self._programs}
        self.steps.append({**about, "answer": answer, "correct": _correct(step, answer, output)})
        self._programs = []
        self.messages.append({"role": "assistant", "content": answer})
        if not self.done:
            self.messages.append(self._asks(len(self.steps)))
        else:
            self.close()

    def _asks(self, place: int) -> Message:
        return {"role": "user", "content": self.problem.steps[place].question}


def _correct(step: Step, answer: str, output: str) -> bool | None:
    if step.check is None:
        return None
    return is_right(answer if step.of == "answer" else output, step.check)
