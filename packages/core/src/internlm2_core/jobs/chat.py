"""Talk to a model in the terminal."""

import re
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from internlm2_core.generation import Engine, Sampling, engine_of
from internlm2_core.generation.conversation import Conversation, Tools
from internlm2_core.jobs.tools import tools_of
from internlm2_core.text import load_tokenizer

HELP = (
    "Type to talk. /result TEXT answers a call of a tool, /reset forgets the conversation, "
    "/system TEXT sets the system prompt, /quit leaves."
)


def chat(
    checkpoint: str,
    system: str | None,
    sampling: Sampling,
    engine: Callable[[str], Engine] = engine_of,
    tools: Tools | None = None,
) -> None:
    """A conversation of many turns. Answers appear as they are generated.

    Args:
        checkpoint: A model folder of either layout.
        system: System prompt.
        sampling: How to choose tokens.
        engine: Makes the engine from the checkpoint's folder.
        tools: Functions that the model may call: a JSON file, or the list itself.

    Raises:
        FileNotFoundError: If the folder holds no model, or the file of tools does not exist.
        ValueError: If the tools are not a list of JSON objects.
    """
    console = Console()
    functions = tools_of(tools)
    answers, tokenizer = engine(checkpoint), load_tokenizer(Path(checkpoint))
    conversation = Conversation(answers, tokenizer, sampling, system, functions)
    console.print(HELP, style="dim")
    while True:
        try:
            words = console.input("[bold]> [/bold]").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if words == "/quit":
            return
        if words:
            obey(words, conversation, console)


def obey(words: str, conversation: Conversation, console: Console) -> None:
    """Do what one line asks for.

    Args:
        words: A command, or what the user says.
        conversation: The turns so far.
        console: Where the answer is shown.
    """
    command, _, rest = words.partition(" ")
    if command == "/reset":
        conversation.reset(conversation.system)
        console.print("The conversation is forgotten.", style="dim")
    elif command == "/system":
        conversation.reset(rest.strip())
        console.print("The system prompt is set, the conversation forgotten.", style="dim")
    elif re.fullmatch(r"/\w+", words):  # not one of the commands
        console.print(HELP, style="dim")
    elif command == "/result":
        answer(conversation.result, rest, console)
    else:
        answer(conversation.answer, words, console)


def answer(ask: Callable[[str, Callable[[str], None]], str], words: str, console: Console) -> None:
    """Show an answer while it comes.

    Args:
        ask: Takes the words and what shows the answer.
        words: What the user says, or what a tool gave back.
        console: Where the answer is shown.
    """
    try:
        ask(words, lambda text: console.print(text, end="", markup=False, highlight=False))
    except ValueError as error:  # the conversation is too long, but it is not lost
        console.print(f"{error} /reset begins anew.", style="red", markup=False)
    except KeyboardInterrupt:
        console.print("\nThe answer was interrupted and is forgotten.", style="dim")
    console.print()
