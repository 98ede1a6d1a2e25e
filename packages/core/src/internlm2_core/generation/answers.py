"""From words to words: a prompt through a tokenizer and an engine, and back."""

from collections.abc import Sequence
from dataclasses import replace

from internlm2_records import Message

from internlm2_core.generation.engine import Engine
from internlm2_core.generation.sampling import Sampling
from internlm2_core.text.chat import ChatFormat
from internlm2_core.text.tokenizer import Tokenizer, special_ids

ENDS = ("</s>", "<|im_end|>")
"""Tokens that end a document or a turn."""


def complete(
    engine: Engine,
    tokenizer: Tokenizer,
    prompt: str | Sequence[Message],
    sampling: Sampling,
    stop: Sequence[str] = (),
) -> str:
    """What a model says after a prompt.

    Args:
        engine: Answers token ids.
        tokenizer: The model's.
        prompt: A conversation that wants an assistant's turn, or a text to be continued.
        sampling: How tokens are chosen. The end of a turn or document always stops.
        stop: Strings that end the text. They are not part of it.
    """
    if isinstance(prompt, str):
        ids = [*tokenizer.begin, *tokenizer.encode(prompt)]
    else:
        ids = ChatFormat(tokenizer).prompt(list(prompt))
    ends = {id_ for name, id_ in special_ids(tokenizer).items() if name in ENDS}
    sampling = replace(sampling, stop_ids=(*sampling.stop_ids, *ends), stop=tuple(stop), logprobs=False)
    [completion] = engine.generate([ids], sampling)
    text = tokenizer.decode([id_ for id_ in completion.ids if id_ not in ends])
    for string in stop:
        text = text.split(string)[0]
    return text
