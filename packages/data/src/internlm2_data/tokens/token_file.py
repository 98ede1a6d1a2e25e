"""Reading token files."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from internlm2_data.stores import BlockCache, InputFile, StoreFile, files_in, is_file, is_remote, local, names_in
from internlm2_data.tokens.manifests import Manifest

DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
OFFSETS = ".offsets.npy"
DOCUMENT = np.dtype([("id", "V16"), ("contents", "<u8")])
"""What is known of each document: its id, zeros where it has none, and a hash of its tokens."""


class TokenSource:
    """The documents of one token file, or of a selection of them, read by memory map, or by ranges from a store.

    Pickles as its path, so that handing it to loader workers copies no tokens.

    Args:
        path: `.../NAME`, with or without `.json` or `.bin` at its end. Of a token file in a store (``s3://...``) card
            and offsets are copied to this machine, and tokens are read when they are needed.
        min_tokens: Keep only documents of at least this many tokens (for the long phase).
        blocks: Keeps what was read of tokens in a store. None is ``BlockCache()``.

    Raises:
        FileNotFoundError: If its card ``NAME.json`` is missing.
        ValueError: If the card contradicts the files, or no document is left.
        StoreError: If the store does not answer.
    """

    def __init__(self, path: str | Path, min_tokens: int = 0, blocks: BlockCache | None = None) -> None:
        self.stem = stem = str(path).removesuffix(".json").removesuffix(".bin")
        self.min_tokens = min_tokens
        self.blocks = BlockCache() if blocks is None else blocks
        self._maps: dict[int, npt.NDArray[Any]] = {}
        card = f"{stem}.json"
        if not is_file(card):
            raise FileNotFoundError(
                f"{stem} is not a token file, since its card {card} is missing. `internlm2 process pipeline=tokens` "
                "writes token files."
            )
        self.card: dict[str, Any] = json.loads(local(card).read_text("utf-8"))
        if not len(self):
            raise ValueError(f"{stem} has no document of {max(1, min_tokens)} tokens or more.")
        for file, tokens in self._parts:
            size = file.size_bytes if isinstance(file, StoreFile) else file.stat().st_size
            held = size // DTYPES[self.card["dtype"]].itemsize
            if held != tokens:
                raise ValueError(
                    f"{file} holds {held} tokens where its card says {tokens}. Delete it and run `internlm2 process "
                    "pipeline=tokens` again."
                )

    @property
    def name(self) -> str:
        """The file's name without folder and suffix."""
        return PurePosixPath(self.stem).name

    @property
    def manifest(self) -> Manifest:
        """What is in it, by which a resumed run tells that it is still the same."""
        return Manifest(self.name, len(self), self.num_tokens, str(self.card.get("contents", "")))

    @cached_property
    def num_tokens(self) -> int:
        """Tokens of all (selected) documents."""
        return int(self.lengths.sum())

    def __len__(self) -> int:
        """Number of (selected) documents."""
        return len(self.lengths)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each selected document, int64 [documents]."""
        return self._extents[1]

    def read(self, document: int, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Token ids [start:stop] of one document, as stored (uint16 or uint32)."""
        return self._read(*self._place(document, start, stop))

    def fetch(self, spans: Iterable[tuple[int, int, int]]) -> None:
        """Have parts of documents here that are about to be read, several at the same time. They are in a store.

        Args:
            spans: Document, first token, and the token after the last one.
        """
        self.blocks.fetch([self._bytes(*self._place(*span)) for span in spans])

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each document of the file begins, selected or not, and the end, int64."""
        return np.asarray(np.load(local(f"{self.stem}.offsets.npy"), allow_pickle=False))

    @cached_property
    def documents(self) -> npt.NDArray[Any]:
        """Id and hash of each document of the file, selected or not, see `DOCUMENT`.

        Raises:
            FileNotFoundError: If the file does not say.
        """
        file = f"{self.stem}.documents.npy"
        if not is_file(file):
            raise FileNotFoundError(
                f"{self.stem} does not say which documents it holds, since {file} is missing. Run `internlm2 process "
                "pipeline=tokens` again."
            )
        return np.asarray(np.load(local(file), allow_pickle=False))

    def document_id(self, document: int) -> str:
        """Id of one of the selected documents, 32 hex digits. Empty where it has none."""
        found = bytes(self.documents["id"][self._kept][document])
        return found.hex() if any(found) else ""

    def numbers_of(self, beginning: str) -> list[int]:
        """Selected documents whose ids begin with some hex digits."""
        ids = self.documents["id"][self._kept]
        whole = len(beginning) // 2 * 2
        wanted = np.frombuffer(bytes.fromhex(beginning[:whole]), np.uint8)
        digits = ids.view(np.uint8).reshape(len(ids), 16)[:, : len(wanted)]
        found = np.flatnonzero((digits == wanted).all(axis=1)).tolist()
        return [number for number in found if self.document_id(number).startswith(beginning)]

    def at_least(self, tokens: int) -> "TokenSource":
        """The documents of at least `tokens` tokens, as a source of their own."""
        return TokenSource(self.stem, max(tokens, self.min_tokens), self.blocks)

    def __reduce__(self) -> tuple[type["TokenSource"], tuple[str, int, BlockCache]]:
        return TokenSource, (self.stem, self.min_tokens, self.blocks)

    @cached_property
    def _parts(self) -> list[tuple[InputFile, int]]:
        """The files of tokens, and how many each must hold."""
        tokens = self.card.get("parts", {"": self.card["tokens"]})
        names = [part_file(self.stem, part) for part in tokens]
        files: Sequence[InputFile] = [Path(name) for name in names]
        if is_remote(self.stem):
            files = files_in(self.stem.rpartition("/")[0], [PurePosixPath(name).name for name in names])
        return list(zip(files, tokens.values(), strict=True))

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(tokens for _, tokens in self._parts)][:-1]

    def _place(self, document: int, start: int, stop: int | None) -> tuple[int, int, int]:
        """The part in which tokens [start:stop] of a document are, and where in it."""
        first, length = int(self._extents[0][document]), int(self.lengths[document])
        # No document is in two parts.
        part = bisect_right(self._starts, first) - 1
        first -= self._starts[part]
        return part, first + start, first + (length if stop is None else min(stop, length))

    def _bytes(self, part: int, start: int, stop: int) -> tuple[StoreFile, int, int]:
        file, size = self._parts[part][0], DTYPES[self.card["dtype"]].itemsize
        assert isinstance(file, StoreFile)
        return file, start * size, stop * size

    def _read(self, part: int, start: int, stop: int) -> npt.NDArray[Any]:
        file, dtype = self._parts[part][0], DTYPES[self.card["dtype"]]
        if isinstance(file, StoreFile):
            return np.frombuffer(self.blocks.read(*self._bytes(part, start, stop)), dtype)
        if part not in self._maps:
            self._maps[part] = np.memmap(file, dtype=dtype, mode="r")
        return np.asarray(self._maps[part][start:stop])

    @cached_property
    def _kept(self) -> npt.NDArray[np.bool_]:
        return np.diff(self.offsets) >= max(1, self.min_tokens)

    @cached_property
    def _extents(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        starts, lengths, keep = self.offsets[:-1], np.diff(self.offsets), self._kept
        return (starts, lengths) if keep.all() else (starts[keep], lengths[keep])


def part_name(shard: int) -> str:
    """The name of the part of a token file that a shard wrote."""
    return f"{shard:05d}"


def part_file(stem: str | Path, part: str = "") -> str:
    """The file of tokens of one of the parts of a token file.

    Args:
        stem: `.../NAME`.
        part: Its name. Empty where the file has no parts.
    """
    return f"{stem}.{part}.bin" if part else f"{stem}.bin"


def token_sources(
    folder: str | Path,
    names: list[str] | None = None,
    tokenizer: str | Path | None = None,
    blocks: BlockCache | None = None,
) -> Mapping[str, TokenSource]:
    """All token files of a folder, by name and in the order of their names.

    Args:
        folder: What `process pipeline=tokens` wrote, for example `runs/tokens/train`.
        names: Only these. None for all.
        tokenizer: `tokenizer.json`, or a folder with one, that the text must have been encoded with. None takes any.
        blocks: Keeps what was read of tokens in a store. None is ``BlockCache()``.

    Raises:
        FileNotFoundError: If the folder holds no token file, or not one that was named.
        ValueError: If another tokenizer encoded one of them.
    """
    found = sorted(name.removesuffix(OFFSETS) for name in _names_in(folder) if name.endswith(OFFSETS))
    wanted = found if names is None else names
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no token files. `internlm2 process pipeline=tokens` writes train/, heldout/ and long/ "
            "below its output."
        )
    missing = [name for name in wanted if name not in found]
    if missing or not wanted:
        raise FileNotFoundError(f"{folder} holds the token files {found} and not {missing}.")
    sources = {name: TokenSource(f"{str(folder).rstrip('/')}/{name}", blocks=blocks) for name in wanted}
    if tokenizer is not None:
        _check_tokenizer(sources, Path(tokenizer))
    return sources


def _names_in(folder: str | Path) -> list[str]:
    return names_in(str(folder)) if is_remote(folder) else [file.name for file in Path(folder).glob("*")]


def tokenizer_file(path: str | Path) -> Path:
    """The file itself, or the `tokenizer.json` of a folder."""
    return Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)


def tokenizer_digest(file: Path) -> str:
    """By which cards tell tokenizers apart (`tokenizer_sha256`)."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def opening_token(file: Path) -> str | None:
    """The token that every text begins with, by the ``tokenizer_config.json`` beside a tokenizer. None for none."""
    beside = file.with_name("tokenizer_config.json")
    config = json.loads(beside.read_text("utf-8")) if beside.is_file() else {}
    token = config.get("bos_token")
    name = token["content"] if isinstance(token, dict) else token
    return str(name) if config.get("add_bos_token") and name else None


def _check_tokenizer(sources: Mapping[str, TokenSource], tokenizer: Path) -> None:
    """Raise ValueError where a card names another tokenizer than this file or folder, or another beginning of texts.

    A `tokenizer.model` encodes no token files here, and a card may name none: then there is nothing to compare.
    """
    file = tokenizer_file(tokenizer)
    if file.suffix != ".json" or not file.is_file():
        return
    digest, opening = tokenizer_digest(file), opening_token(file)
    for source in sources.values():
        if (begin := source.card.get("begin")) != opening:
            raise ValueError(
                f"Documents of {source.stem} begin with {begin or 'no token of their own'} but texts of {file.parent} "
                f"with {opening or 'none'} (add_bos_token). Run "
                f"`internlm2 process pipeline=tokens pipeline.tokenizer={file}`."
            )
        theirs = source.card.get("tokenizer_sha256", digest)
        if theirs != digest:
            raise ValueError(
                f"{source.stem} was encoded with another tokenizer ({theirs[:12]}) than {file} ({digest[:12]}). Run "
                f"`internlm2 process pipeline=tokens pipeline.tokenizer={file}`. If both spell every id alike, leave "
                "out tokenizer beside its folder."
            )
