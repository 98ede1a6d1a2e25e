"""A conversation of many turns, tools included.

What the model says stays in the history as the ids that it generated. Encoded again, its text may become other ids, and
a call to a tool would become plain text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from internlm2_records import Message, with_tools

from internlm2_core.generation.engine import Engine, StreamingEngine
from internlm2_core.generation.sampling import Sampling
from internlm2_core.generation.stream import TextStream
from internlm2_core.text.chat import ChatFormat
from internlm2_core.text.tokenizer import Tokenizer

Tools = str | Sequence[Mapping[str, Any]]
"""Functions that the model may call: a list of descriptions, or JSON."""


class Conversation:
    """The turns so far and the engine that answers.

    Args:
        engine: Answers prompts. One that streams is shown while it answers.
        tokenizer: The model's.
        sampling: How to choose tokens. The end of a turn always stops.
        system: System prompt.
        tools: Functions that the model may call.

    Attributes:
        messages: The turns. A call is the ``tool_call`` of its turn.
    """

    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, sampling: Sampling, system: str | None, tools: Tools | None = None
    ) -> None:
        self.engine, self.tokenizer, self.format, self.tools = engine, tokenizer, ChatFormat(tokenizer), tools
        self.ends = (self.format.end, tokenizer.special("</s>"))
        self.sampling = replace(sampling, stop_ids=(*sampling.stop_ids, *self.ends), logprobs=False)
        self.reset(system)

    def reset(self, system: str | None) -> None:
        """Forget all turns. The tools stay."""
        self.system = system
        self.messages = with_tools({"system": system, "tools": self.tools}, [])
        self._said: dict[int, list[int]] = {}

    def answer(self, words: str, show: Callable[[str], None]) -> str:
        """Answer what a user says.

        Args:
            words: The user's turn.
            show: Called with pieces of the answer as they come. Calls of tools are spelt out.

        Returns:
            The answer, with a call spelt out.

        Raises:
            ValueError: If the conversation is too long. It is not changed.
        """
        return self._answer({"role": "user", "content": words}, show)

    def result(self, content: str, show: Callable[[str], None]) -> str:
        """Answer what a tool gave back.

        Args:
            content: The result of the call that ended the last turn.
            show: As in `answer`.

        Returns:
            The answer, with a further call spelt out.

        Raises:
            ValueError: If the last turn called no tool, or the conversation is too long. It is not changed.
        """
        call = self.messages[-1].get("tool_call") if self.messages else None
        if call is None:
            raise ValueError("The last turn called no tool, so there can be no result.")
        return self._answer({"role": "environment", "name": call["tool"], "content": content}, show)

    def _answer(self, turn: Message, show: Callable[[str], None]) -> str:
        asked = [*self.messages, turn]
        stream = TextStream(self.tokenizer, self.sampling.stop_ids, show)
        prompt = self.format.prompt(asked, self._said)
        if isinstance(self.engine, StreamingEngine):
            self.engine.stream(prompt, self.sampling, stream)
        else:
            for id_ in self.engine.generate([prompt], self.sampling)[0].ids:
                stream(id_)
        stream.finish()
        ids = stream.ids[:-1] if stream.ids[-1] in self.ends else stream.ids
        self._said[len(asked)] = ids
        self.messages = [*asked, turn_of_ids(ids, self.tokenizer)]
        return stream.text


def turn_of_ids(ids: Sequence[int], tokenizer: Tokenizer) -> Message:
    """An assistant's turn as a message, its call apart from its words.

    Args:
        ids: What the model generated, without the end of the turn.
        tokenizer: The model's.
    """
    start, end = tokenizer.special("<|action_start|>"), tokenizer.special("<|action_end|>")
    if start not in ids:
        return {"role": "assistant", "content": tokenizer.decode(ids)}
    place = list(ids).index(start)
    rest = [id_ for id_ in ids[place + 1 :] if id_ != end]
    tool, _, content = tokenizer.decode(rest).partition("\n")
    return {
        "role": "assistant",
        "content": tokenizer.decode(ids[:place]),
        "tool_call": {"tool": tool, "content": content},
    }
