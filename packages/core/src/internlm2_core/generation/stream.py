"""Token ids in, text out, as soon as it is certain."""

from collections.abc import Callable, Collection

from internlm2_core.text.tokenizer import Tokenizer

WINDOW = 16
"""Tokens that are decoded again with a new one. A token may only change what its neighbours spell."""

INCOMPLETE = 3
"""Bytes of a character that may still become whole. UTF-8 has four at most."""


class TextStream:
    """Shows text while its tokens come. The cost of a token does not depend on how many there were.

    A character that is spread over several tokens waits until it is whole. `finish` shows what still waits.

    Args:
        tokenizer: Decodes the ids.
        stop_ids: Ids that are not shown.
        show: Called with each new piece of text.

    Attributes:
        ids: All ids so far, those that are not shown too.
    """

    def __init__(self, tokenizer: Tokenizer, stop_ids: Collection[int], show: Callable[[str], None]) -> None:
        self.tokenizer, self.stop_ids, self.show = tokenizer, frozenset(stop_ids), show
        self.ids: list[int] = []
        self._pieces: list[str] = []
        self._window: list[int] = []
        self._shown = 0  # characters of the window's text

    @property
    def text(self) -> str:
        """All that was shown."""
        return "".join(self._pieces)

    def __call__(self, id_: int) -> None:
        """Take one token."""
        self.ids.append(id_)
        if id_ in self.stop_ids:
            return
        self._window.append(id_)
        text = self.tokenizer.decode(self._window)
        self._show(text, certain(text))
        if len(self._window) == 2 * WINDOW:
            del self._window[:WINDOW]
            self._shown = certain(self.tokenizer.decode(self._window))

    def finish(self) -> None:
        """Show what waits for the rest of a character that does not come."""
        text = self.tokenizer.decode(self._window)
        self._show(text, len(text))

    def _show(self, text: str, end: int) -> None:
        if end > self._shown:
            self.show(text[self._shown : end])
            self._pieces.append(text[self._shown : end])
            self._shown = end


def certain(text: str) -> int:
    """Characters of a text that more tokens cannot change: all but the bytes of one that is not whole."""
    waiting = min(len(text) - len(text.rstrip("\ufffd")), INCOMPLETE)
    return len(text) - waiting
