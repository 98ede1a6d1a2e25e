"""Answer one prompt and print the text."""

from collections.abc import Callable
from pathlib import Path

from internlm2_core.generation import Engine, Sampling, engine_of
from internlm2_core.text import ChatFormat, load_tokenizer


def generate(
    checkpoint: str,
    prompt: str,
    is_chat: bool,
    system: str | None,
    sampling: Sampling,
    stop: str | list[str] | None = None,
    engine: Callable[[str], Engine] = engine_of,
) -> str:
    """Print what the model says after a prompt.

    Args:
        checkpoint: a model folder of either layout.
        prompt: the user's words, or with ``is_chat=False`` the text to be continued.
        is_chat: wrap the prompt as a user's turn of ChatML.
        system: system prompt of the chat.
        sampling: how to choose; the end of a turn or document always stops.
        stop: strings that end the text, or one; they are not printed.
        engine: makes the engine from the checkpoint's folder.

    Returns:
        The text.

    Raises:
        FileNotFoundError: no model there.
        ValueError: an empty prompt.
    """
    if not prompt:
        raise ValueError('prompt="" is empty; give some text: prompt="...".')
    answers, tokenizer = engine(checkpoint), load_tokenizer(Path(checkpoint))
    chat = ChatFormat(tokenizer)
    if is_chat:
        opening = [{"role": "system", "content": system}] if system else []
        ids = chat.prompt([*opening, {"role": "user", "content": prompt}])  # type: ignore[list-item]
    else:
        ids = tokenizer.encode(prompt)
    ends = {chat.end, tokenizer.special("</s>")}
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    fields = vars(sampling) | {"stop_ids": (*sampling.stop_ids, *ends), "stop": strings}
    [completion] = answers.generate([ids], Sampling(**fields))
    text = tokenizer.decode([id_ for id_ in completion.ids if id_ not in ends])
    for string in strings:
        text = text.split(string)[0]
    print(text)
    return text
