"""The chat format inside of text: lm-eval passes prompts on as one string.

Tokens of the format are spelt out. Where a question spells one itself, a mark is put into it, so that it stays text.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from internlm2_records import Message

MARK = "\ue000"
"""A character of private use, behind the first of a name that is only text."""


class ChatText:
    """Conversations as text, and such text as ids.

    Args:
        special: Ids of the special tokens that the vocabulary has.
    """

    def __init__(self, special: Mapping[str, int]) -> None:
        self.special = dict(special)
        self.names = re.compile("(" + "|".join(map(re.escape, sorted(special, key=len, reverse=True))) + ")")

    def spelt(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """A conversation as text.

        Args:
            messages: The turns.
            add_generation_prompt: Open an assistant turn at the end. Without it the last turn is left open.

        Raises:
            ValueError: If the vocabulary lacks the tokens of the chat format.
        """
        if missing := [name for name in ("<|im_start|>", "<|im_end|>") if name not in self.special]:
            raise ValueError(f"chat=True needs a tokenizer with {', '.join(missing)}, which this model lacks.")
        turns = [f"<|im_start|>{turn['role']}\n{self._marked(turn['content'])}<|im_end|>\n" for turn in messages]
        if add_generation_prompt:
            return "".join([*turns, "<|im_start|>assistant\n"])
        return "".join(turns).removesuffix("<|im_end|>\n")

    def encode(self, text: str, encode: Callable[[str], list[int]]) -> Iterator[int]:
        """Ids of text in which tokens of the chat format may be spelt out.

        Args:
            text: The text.
            encode: Encodes plain text.
        """
        for place, piece in enumerate(self.names.split(text)):
            if place % 2:
                yield self.special[piece]
            elif piece:
                yield from encode(self._unmarked(piece))

    def _marked(self, content: str) -> str:
        return self.names.sub(lambda found: found[0][0] + MARK + found[0][1:], content)

    def _unmarked(self, text: str) -> str:
        return re.sub(f"(?<=[<\\[]){MARK}", "", text)
