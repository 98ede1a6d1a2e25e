"""Talk to a model in the terminal."""

import re
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from internlm2_core.generation import LocalEngine, Sampling, engine_of
from internlm2_core.text import ChatFormat, Message, Tokenizer, load_tokenizer

HELP = "Type to talk; /reset forgets the conversation, /system TEXT sets the system prompt, /quit leaves."


def chat(
    checkpoint: str, system: str | None, sampling: Sampling, engine: Callable[[str], LocalEngine] = engine_of
) -> None:
    """A conversation of many turns; answers appear as they are generated.

    Args:
        checkpoint: a model folder of either layout.
        system: system prompt.
        sampling: how to choose.
        engine: makes the engine from the checkpoint's folder.

    Raises:
        FileNotFoundError: no model there.
    """
    console = Console()
    answers, tokenizer = engine(checkpoint), load_tokenizer(Path(checkpoint))
    conversation = Conversation(answers, tokenizer, sampling, system)
    console.print(HELP, style="dim")
    while True:
        try:
            words = console.input("[bold]> [/bold]").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if words == "/quit":
            return
        if words == "/reset":
            conversation.reset(conversation.system)
            console.print("The conversation is forgotten.", style="dim")
        elif words.partition(" ")[0] == "/system":
            conversation.reset(words.removeprefix("/system").strip())
            console.print("The system prompt is set, the conversation forgotten.", style="dim")
        elif re.fullmatch(r"/\w+", words):  # a command that is none
            console.print(HELP, style="dim")
        elif words:
            try:
                conversation.answer(words, lambda text: console.print(text, end="", markup=False, highlight=False))
            except ValueError as error:  # a conversation that has become too long is no reason to lose it
                console.print(f"{error} /reset begins anew.", style="red", markup=False)
            console.print()


class Conversation:
    """The turns so far and the engine that answers.

    Args:
        engine: answers prompts, streaming.
        tokenizer: the model's.
        sampling: how to choose; the end of a turn stops.
        system: system prompt.
    """

    def __init__(self, engine: LocalEngine, tokenizer: Tokenizer, sampling: Sampling, system: str | None) -> None:
        self.engine, self.tokenizer, self.format = engine, tokenizer, ChatFormat(tokenizer)
        ends = (self.format.end, tokenizer.special("</s>"))
        self.sampling = Sampling(**(vars(sampling) | {"stop_ids": (*sampling.stop_ids, *ends)}))
        self.reset(system)

    def reset(self, system: str | None) -> None:
        """Forget all turns."""
        self.system = system
        self.messages: list[Message] = [{"role": "system", "content": system}] if system else []

    def answer(self, words: str, show: Callable[[str], None]) -> str:
        """Answer a turn.

        Args:
            words: what the user says.
            show: called with pieces of the answer as they come; tool calls are spelt out.

        Raises:
            ValueError: the conversation is too long; it stays as it was.
        """
        asked: list[Message] = [*self.messages, {"role": "user", "content": words}]
        stream = TextStream(self.tokenizer, self.sampling.stop_ids, show)
        self.engine.generate([self.format.prompt(asked)], self.sampling, on_token=stream)
        self.messages = [*asked, {"role": "assistant", "content": stream.text}]
        return stream.text


class TextStream:
    """Token ids in, text out; a character that is spread over several tokens waits until it is whole.

    Args:
        tokenizer: decodes.
        stop_ids: not shown.
        show: called with each new piece of text.
    """

    def __init__(self, tokenizer: Tokenizer, stop_ids: tuple[int, ...], show: Callable[[str], None]) -> None:
        self.tokenizer, self.stop_ids, self.show = tokenizer, stop_ids, show
        self.ids: list[int] = []
        self.text = ""

    def __call__(self, _prompt: int, id_: int) -> None:
        """Take one token."""
        if id_ in self.stop_ids:
            return
        self.ids.append(id_)
        text = self.tokenizer.decode(self.ids)
        if not text.endswith("\ufffd"):
            self.show(text[len(self.text) :])
            self.text = text
