"""Writing token files, all or nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from internlm2_data.tokens.token_file import DTYPES


class TokenWriter:
    """Appends documents to `PATH.bin`. Offsets and card appear when the `with` block ends without an error.

    Args:
        path: `.../NAME` without suffix. Its folder is created.
        vocabulary: Number of ids. Up to 65,536 are stored in two bytes, more in four.
        about: What else the card should say (tokenizer_sha256, language, ...), in JSON types.
    """

    def __init__(self, path: str | Path, vocabulary: int, about: dict[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.vocabulary = vocabulary
        self.about = about or {}
        self._dtype = "uint16" if vocabulary <= 1 << 16 else "uint32"
        self._lengths: list[int] = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part = Path(f"{self.path}.bin.part")
        self._file = self._part.open("wb")

    def add(self, ids: Sequence[int]) -> None:
        """Append one document.

        Raises:
            ValueError: If an id lies outside the vocabulary.
        """
        array = np.asarray(ids, dtype=np.int64)
        if array.size and (array.min() < 0 or array.max() >= self.vocabulary):
            raise ValueError(f"Token id {int(array.max())} does not fit a vocabulary of {self.vocabulary}.")
        self._file.write(array.astype(DTYPES[self._dtype]).tobytes())
        self._lengths.append(array.size)

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is not None:
            self._part.unlink()
            return
        offsets = np.concatenate([[0], np.cumsum(self._lengths, dtype=np.int64)]).astype(np.int64)
        card = {
            "dtype": self._dtype,
            "documents": len(self._lengths),
            "tokens": int(offsets[-1]),
            "vocabulary": self.vocabulary,
            **self.about,
        }
        part = Path(f"{self.path}.offsets.part.npy")
        np.save(part, offsets)
        self._part.replace(f"{self.path}.bin")
        part.replace(f"{self.path}.offsets.npy")
        part = Path(f"{self.path}.json.part")
        part.write_text(json.dumps(card, indent=1, ensure_ascii=False), "utf-8")
        part.replace(f"{self.path}.json")
