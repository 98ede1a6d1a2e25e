"""Talk to a model in the terminal."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from internlm2_records import Message
from rich.console import Console

from internlm2_core.generation import Engine, Sampling, StreamingEngine, engine_of
from internlm2_core.text import ChatFormat, Tokenizer, load_tokenizer

HELP = "Type to talk. /reset forgets the conversation, /system TEXT sets the system prompt, /quit leaves."


def chat(checkpoint: str, system: str | None, sampling: Sampling, engine: Callable[[str], Engine] = engine_of) -> None:
    """A conversation of many turns. Answers appear as they are generated.

    Args:
        checkpoint: A model folder of either layout.
        system: System prompt.
        sampling: How to choose tokens.
        engine: Makes the engine from the checkpoint's folder.

    Raises:
        FileNotFoundError: If the folder holds no model.
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
        elif re.fullmatch(r"/\w+", words):  # not one of the commands
            console.print(HELP, style="dim")
        elif words:
            try:
                conversation.answer(words, lambda text: console.print(text, end="", markup=False, highlight=False))
            except ValueError as error:  # the conversation is too long, but it is not lost
                console.print(f"{error} /reset begins anew.", style="red", markup=False)
            console.print()


class Conversation:
    """The turns so far and the engine that answers.

    Args:
        engine: Answers prompts. One that streams is shown while it answers.
        tokenizer: The model's.
        sampling: How to choose tokens. The end of a turn always stops.
        system: System prompt.
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer, sampling: Sampling, system: str | None) -> None:
        self.engine, self.tokenizer, self.format = engine, tokenizer, ChatFormat(tokenizer)
        ends = (self.format.end, tokenizer.special("</s>"))
        self.sampling = replace(sampling, stop_ids=(*sampling.stop_ids, *ends))
        self.reset(system)

    def reset(self, system: str | None) -> None:
        """Forget all turns."""
        self.system = system
        self.messages: list[Message] = [{"role": "system", "content": system}] if system else []

    def answer(self, words: str, show: Callable[[str], None]) -> str:
        """Answer a turn.

        Args:
            words: What the user says.
            show: Called with pieces of the answer as they come. Tool calls are spelt out.

        Raises:
            ValueError: If the conversation is too long. It is not changed.
        """
        asked: list[Message] = [*self.messages, {"role": "user", "content": words}]
        stream = TextStream(self.tokenizer, self.sampling.stop_ids, show)
        prompt = self.format.prompt(asked)
        if isinstance(self.engine, StreamingEngine):
            self.engine.stream(prompt, self.sampling, stream)
        else:
            for id_ in self.engine.generate([prompt], self.sampling)[0].ids:
                stream(id_)
        self.messages = [*asked, {"role": "assistant", "content": stream.text}]
        return stream.text


class TextStream:
    """Token ids in, text out. A character that is spread over several tokens waits until it is whole.

    Args:
        tokenizer: Decodes the ids.
        stop_ids: Ids that are not shown.
        show: Called with each new piece of text.
    """

    def __init__(self, tokenizer: Tokenizer, stop_ids: tuple[int, ...], show: Callable[[str], None]) -> None:
        self.tokenizer, self.stop_ids, self.show = tokenizer, stop_ids, show
        self.ids: list[int] = []
        self.text = ""

    def __call__(self, id_: int) -> None:
        """Take one token."""
        if id_ in self.stop_ids:
            return
        self.ids.append(id_)
        text = self.tokenizer.decode(self.ids)
        if not text.endswith("\ufffd"):
            self.show(text[len(self.text) :])
            self.text = text
