"""How a model asks for a program to be run, and how it is told what came out."""

import re
from dataclasses import dataclass
from typing import Protocol

from internlm2_records import Message

INTERPRETER = "<|interpreter|>"
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Move:
    """What a model said.

    Attributes:
        words: Its words, without the program.
        code: A program that it wants to be run, or None.
        answer: Its answer, where it gives one.
    """

    words: str
    code: str | None
    answer: str


class Dialect(Protocol):
    """A way to talk with an interpreter."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Names of special tokens that end what the model says."""

    def opening(self) -> list[Message]:
        """The turns before the first question."""

    def read(self, said: str) -> Move:
        """What the model wants, from the text that it generated."""

    def turns(self, move: Move, output: str) -> list[Message]:
        """The turns that show a program and what came out of it.

        Args:
            move: With the program.
            output: What it printed.
        """


@dataclass(frozen=True)
class ChatTurns:
    """InternLM2's own turns: calls in special tokens, outputs as turns of the environment (report section 4.4).

    Attributes:
        system: What the model is told of the interpreter.
    """

    system: str = (
        "You can run Python code. The code is executed and what it prints is given back to you. Variables are kept "
        "until the end of the conversation. Use it to compute, then answer in words."
    )
    stop: tuple[str, ...] = ("<|action_end|>", "<|im_end|>")

    def opening(self) -> list[Message]:
        """The description of the interpreter."""
        return [{"role": "system", "name": INTERPRETER, "content": self.system}]

    def read(self, said: str) -> Move:
        """Words, and the call after them."""
        words, _, call = said.partition("<|action_start|>")
        tool, found, code = call.partition("\n")
        if not found or tool.strip() != INTERPRETER:
            return Move(said.strip(), None, said.strip())
        return Move(words.strip(), unfenced(code), words.strip())

    def turns(self, move: Move, output: str) -> list[Message]:
        """A turn with a call, and one of the environment.

        Args:
            move: With the program.
            output: What it printed.
        """
        assert move.code is not None
        call = f"```python\n{move.code}\n```"
        return [
            {"role": "assistant", "content": move.words, "tool_call": {"tool": INTERPRETER, "content": call}},
            {"role": "environment", "name": INTERPRETER, "content": output},
        ]


@dataclass(frozen=True)
class ReAct:
    """Thought, action and observation as plain text (Yao et al. 2022), for models that know no special tokens.

    Attributes:
        system: What the model is told.
    """

    system: str = (
        "Solve the problem step by step. You may run Python code. To run some, write exactly:\n"
        "Thought: what you want to find out\nAction: Python\nAction Input:\n```python\nprint(1 + 1)\n```\n"
        "You are then shown what it printed, as an Observation. Variables are kept. When you know the answer, write:\n"
        "Thought: why you know it\nFinal Answer: the answer"
    )
    stop: tuple[str, ...] = ("<|im_end|>",)

    def opening(self) -> list[Message]:
        """The rules."""
        return [{"role": "system", "content": self.system}]

    def read(self, said: str) -> Move:
        """The first action, or the final answer. An observation that the model made up is left out."""
        said = re.split(r"^\s*Observation:", said, maxsplit=1, flags=re.MULTILINE)[0].strip()
        words, final, answer = said.partition("Final Answer:")
        action = re.search(r"^Action Input:[ \t]*\n?(.*)", words, re.DOTALL | re.MULTILINE)
        if action:
            return Move(words.strip(), unfenced(action[1]), words.strip())
        return Move(said, None, answer.strip() if final else said)

    def turns(self, move: Move, output: str) -> list[Message]:
        """The action as the model wrote it, and the observation.

        Args:
            move: With the program.
            output: What it printed.
        """
        return [{"role": "assistant", "content": move.words}, {"role": "user", "content": f"Observation: {output}"}]


def unfenced(text: str) -> str:
    """Code without the marks around it."""
    found = _FENCE.search(text)
    return (found[1] if found else text).strip("\n").rstrip()
