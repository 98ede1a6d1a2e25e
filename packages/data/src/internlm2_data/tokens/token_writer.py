"""Writing token files, all or nothing."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

from internlm2_data.tokens.token_file import DOCUMENT, DTYPES, part_file


class TokenWriter:
    """Appends documents to `PATH.bin`. The other files appear when the `with` block ends without an error.

    Args:
        path: `.../NAME` without suffix. Its folder is created.
        vocabulary: Number of ids. Up to 65,536 are stored in two bytes, more in four.
        about: What else the card should say (tokenizer_sha256, language, ...), in JSON types.
    """

    def __init__(self, path: str | Path, vocabulary: int, about: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.vocabulary = vocabulary
        self.about = {"vocabulary": vocabulary, **(about or {})}
        self._dtype = "uint16" if vocabulary <= 1 << 16 else "uint32"
        self._lengths: list[int] = []
        self._documents: list[tuple[bytes, int]] = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part = Path(f"{self.path}.bin.part")
        self._file = self._part.open("wb")

    def add(self, ids: Sequence[int] | npt.NDArray[np.integer], document: str = "") -> None:
        """Append one document.

        Args:
            ids: Its tokens.
            document: Its id, 32 hex digits, by which `internlm2 trace` finds it again. Empty where it has none.

        Raises:
            ValueError: If a token lies outside the vocabulary.
        """
        array = np.asarray(ids)
        if array.size and (array.min() < 0 or array.max() >= self.vocabulary):
            raise ValueError(f"Token id {int(array.max())} does not fit a vocabulary of {self.vocabulary}.")
        data = array.astype(DTYPES[self._dtype]).tobytes()
        self._file.write(data)
        self._lengths.append(array.size)
        self._documents.append((bytes.fromhex(document), xxh3_64_intdigest(data)))

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is not None:
            self._part.unlink()
            return
        self._part.replace(f"{self.path}.bin")
        documents = np.array(self._documents, DOCUMENT)
        _finish(self.path, np.array(self._lengths, np.int64), documents, {"dtype": self._dtype, **self.about})


def join(path: Path, shards: Mapping[str, Path], about: Mapping[str, Any]) -> dict[str, Any]:
    """One token file of several, whose tokens are not written again: their files get a second name.

    Args:
        path: `.../NAME` of the whole.
        shards: `.../NAME` of token files by the name of the part that each becomes, in order.
        about: What else the card should say, in JSON types.

    Returns:
        The card.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for part, shard in shards.items():
        _link(Path(f"{shard}.bin"), Path(part_file(path, part)))
    lengths = np.concatenate([np.diff(_array(shard, "offsets")) for shard in shards.values()])
    documents = np.concatenate([_array(shard, "documents") for shard in shards.values()])
    cards = {part: json.loads(Path(f"{shard}.json").read_text("utf-8")) for part, shard in shards.items()}
    parts = {part: card["tokens"] for part, card in cards.items()}
    first = next(iter(cards.values()))
    card = {"dtype": first["dtype"], "vocabulary": first["vocabulary"], "parts": parts, **about}
    return _finish(path, lengths, documents, card)


def _array(stem: Path, name: str) -> npt.NDArray[Any]:
    return np.asarray(np.load(f"{stem}.{name}.npy", allow_pickle=False))


def _finish(path: Path, lengths: npt.NDArray[np.int64], documents: Any, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write what a token file has beside its tokens, the card last. Returns the card."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    for name, array in (("offsets", offsets), ("documents", documents)):
        part = Path(f"{path}.{name}.part.npy")
        np.save(part, array)
        part.replace(f"{path}.{name}.npy")
    # Of each document by itself, so that it does not matter how they came into files.
    contents = xxh3_128_hexdigest(np.ascontiguousarray(documents["contents"]).tobytes())
    card = {"documents": len(lengths), "tokens": int(offsets[-1]), "contents": contents, **about}
    part = Path(f"{path}.json.part")
    part.write_text(json.dumps(card, indent=1, ensure_ascii=False), "utf-8")
    part.replace(f"{path}.json")
    return card


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, in place of what is there. Where that cannot be, it is copied."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copyfile(source, part)
    part.replace(target)
