"""Answer one prompt and print the text."""

from collections.abc import Callable
from pathlib import Path

from internlm2_records import with_tools

from internlm2_core.generation import Engine, Sampling, engine_of
from internlm2_core.generation.answers import complete
from internlm2_core.generation.conversation import Tools
from internlm2_core.jobs.tools import tools_of
from internlm2_core.text import load_tokenizer


def generate(
    checkpoint: str,
    prompt: str,
    is_chat: bool,
    system: str | None,
    sampling: Sampling,
    stop: str | list[str] | None = None,
    engine: Callable[[str], Engine] = engine_of,
    tools: Tools | None = None,
) -> str:
    """Print what the model says after a prompt.

    Args:
        checkpoint: A model folder of either layout.
        prompt: The user's words, or with ``is_chat=False`` the text to be continued.
        is_chat: Wrap the prompt as a user's turn of ChatML.
        system: System prompt of the chat.
        sampling: How to choose tokens. The end of a turn or document always stops.
        stop: Strings that end the text, or one string. They are not printed.
        engine: Makes the engine from the checkpoint's folder.
        tools: Functions that the model may call in a chat: a JSON file, or the list itself.

    Raises:
        FileNotFoundError: If the folder holds no model, or the file of tools does not exist.
        ValueError: If the prompt is empty, or the tools are not a list of JSON objects.
    """
    if not prompt:
        raise ValueError("prompt='' must not be empty.")
    turns = with_tools({"system": system, "tools": tools_of(tools)}, [{"role": "user", "content": prompt}])
    strings = [stop] if isinstance(stop, str) else stop or []
    answers, tokenizer = engine(checkpoint), load_tokenizer(Path(checkpoint))
    text = complete(answers, tokenizer, turns if is_chat else prompt, sampling, strings)
    print(text)
    return text
