"""Encoding by gigatoken, which has the ids of Hugging Face's encoder at several times its speed (extra `fast`).

It is young, so it is never believed: some texts of every batch are encoded by both, and where they differ all texts are
encoded by Hugging Face's encoder.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint32]

CHECKED_EVERY = 64
"""One text of so many is encoded twice."""
MAX_BYTES = 256 << 20
"""Text after which the encoder is made again, since what it remembers of words grows."""


class OtherIdsError(Exception):
    """The fast encoder gave other ids than Hugging Face's.

    Args:
        text: For which text.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class FastEncoder:
    """Encodes texts, special tokens in them as the characters that they are.

    Args:
        file: `tokenizer.json`.
    """

    def __init__(self, file: Path) -> None:
        self.file, self._bytes = file, 0
        self._encoder = self._made()

    def encode(self, texts: Sequence[bytes]) -> list[Ids]:
        """Ids of each text, which are UTF-8."""
        if self._bytes > MAX_BYTES:
            self._bytes, self._encoder = 0, self._made()
        self._bytes += sum(map(len, texts))
        layout = self._encoder.encode_batch(list(texts)).layout
        ids, ends = np.asarray(layout.content.data), np.asarray(layout.offsets.data).tolist()
        return [ids[start:stop] for start, stop in pairwise(ends)]

    def _made(self) -> Any:
        from gigatoken import Tokenizer

        content = json.loads(self.file.read_text("utf-8"))
        # A token that is not added is not looked for in texts.
        return Tokenizer.from_json(json.dumps({**content, "added_tokens": []}))


@lru_cache(maxsize=2)
def fast_encoder(file: Path, digest: str) -> FastEncoder | None:
    """A fast encoder, made once in a process. None where there can be none.

    Args:
        file: `tokenizer.json`.
        digest: Of the file, so that another one of its name is another one.
    """
    if find_spec("gigatoken") is None:
        return None
    added = json.loads(file.read_text("utf-8")).get("added_tokens", [])
    if not all(token["special"] for token in added):
        return None  # such tokens are looked for in texts
    try:
        return FastEncoder(file)
    except Exception:  # it does not know every kind of tokenizer, and says so in many ways
        return None
