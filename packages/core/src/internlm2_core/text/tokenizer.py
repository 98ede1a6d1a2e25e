"""Three tokenizers behind one protocol.

`TrainedTokenizer` reads a ``tokenizer.json`` of the ``tokenizers`` library, `ReleasedTokenizer` the SentencePiece model
of the released checkpoints, and `ByteTokenizer` needs no file. ``encode`` is for text that people wrote. It never gives
a special token, however the text is spelt. Special tokens come from ``special`` alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer as TokenizersTokenizer

from internlm2_core.text.said import said_beside

SCORE_TOKEN = "[UNUSED_TOKEN_130]"
"""Ends a conversation that a reward model scores. The score is read there."""

SPECIAL_TOKENS = (
    "<unk>",
    "<s>",
    "</s>",
    "<|plugin|>",
    "<|interpreter|>",
    "<|action_end|>",
    "<|action_start|>",
    "<|im_end|>",
    "<|im_start|>",
    SCORE_TOKEN,
)
"""Tokens with a meaning of their own."""

RELEASED_NAMES = {
    "<|plugin|>": "[UNUSED_TOKEN_141]",
    "<|interpreter|>": "[UNUSED_TOKEN_142]",
    "<|action_end|>": "[UNUSED_TOKEN_143]",
    "<|action_start|>": "[UNUSED_TOKEN_144]",
    "<|im_end|>": "[UNUSED_TOKEN_145]",
    "<|im_start|>": "[UNUSED_TOKEN_146]",
}
"""How the released SentencePiece file calls the ChatML tokens."""


class Tokenizer(Protocol):
    """Text to ids and back.

    Attributes:
        vocab_size: Number of ids.
        begin: Ids at the beginning of every text and conversation: ``<s>``, or none, as the model's folder says.
    """

    vocab_size: int
    begin: tuple[int, ...]

    @property
    def path(self) -> Path | None:
        """Its file. None where it needs none."""

    def encode(self, text: str) -> list[int]:
        """Ids of plain text, never a special token."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens spelt out. Ids that only pad a network's vocabulary have no text."""

    def special(self, name: str) -> int:
        """Id of a special token.

        Raises:
            KeyError: If the vocabulary has no such token.
        """

    def pieces(self) -> list[str]:
        """How the vocabulary spells each id."""


class TrainedTokenizer:
    """A ``tokenizer.json`` of the ``tokenizers`` library, with what ``tokenizer_config.json`` beside it says.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not such a file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = existing(path)
        try:
            self._tokenizer = TokenizersTokenizer.from_file(str(self.path))
        except Exception as error:  # the library raises nothing more special
            raise ValueError(f"{self.path} is not a tokenizer file: {error}.") from error
        self._said = said_beside(self.path)
        opening = [self._tokenizer.encode("a", add_special_tokens=added).ids for added in (True, False)]
        # Text that spells a special token is text.
        self._tokenizer.encode_special_tokens = True
        self.vocab_size = self._tokenizer.get_vocab_size()
        if (adds := self._said.adds) is None:  # what the file itself puts in front
            adds = opening[0][:1] != opening[1][:1] and opening[0][:1] == [self._id("<s>")]
        self.begin: tuple[int, ...] = (self.special("<s>"),) if adds else ()

    def encode(self, text: str) -> list[int]:
        """Ids of plain text, never a special token."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens spelt out."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def special(self, name: str) -> int:
        """Id of a special token. Raises KeyError if there is none."""
        token_id = self._id(name)
        if token_id is None:
            raise KeyError(f"{self.path} has no token {name!r}. `internlm2 vocabulary` trains one that has.")
        return token_id

    def _id(self, name: str) -> int | None:
        token_id = self._tokenizer.token_to_id(name)
        if token_id is None and name in self._said.names:
            return self._tokenizer.token_to_id(self._said.names[name])
        return token_id

    def pieces(self) -> list[str]:
        """How the vocabulary spells each id."""
        return [self._tokenizer.id_to_token(id_) or "" for id_ in range(self.vocab_size)]


class ReleasedTokenizer:
    """The SentencePiece model of the released checkpoints, ChatML names mapped to its spare pieces.

    Args:
        path: The file ``tokenizer.model``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ModuleNotFoundError: If sentencepiece is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = existing(path)
        try:
            from sentencepiece import SentencePieceProcessor
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'sentencepiece is not installed: pip install "internlm2-core[released-tokenizer]".'
            ) from error
        self._pieces = SentencePieceProcessor(model_file=str(self.path))
        self.vocab_size = self._pieces.vocab_size()
        self._names = {id_: name for name in SPECIAL_TOKENS if (id_ := self._id(name)) is not None}
        self.begin: tuple[int, ...] = (self.special("<s>"),) if said_beside(self.path).adds else ()

    def encode(self, text: str) -> list[int]:
        """Ids of plain text, never a special token."""
        ids = self._pieces.encode(text)
        if not self._names.keys() & set(ids):
            return ids
        # A spare piece spelt in the text: encode around it, and the spelling itself character by character.
        return [part for id_ in ids for part in self._spelt(id_)]

    def _spelt(self, id_: int) -> list[int]:
        if id_ not in self._names:
            return [id_]
        return [byte for char in self._pieces.id_to_piece(id_) for byte in self._bytes(char)]

    def _bytes(self, char: str) -> list[int]:
        piece = self._pieces.piece_to_id(char)
        if piece != self._pieces.unk_id():
            return [piece]
        return [self._pieces.piece_to_id(f"<0x{byte:02X}>") for byte in char.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens spelt out."""
        parts: list[str] = []
        run: list[int] = []
        for id_ in ids:
            if id_ in self._names:
                parts += [self._pieces.decode(run), self._names[id_]]
                run = []
            elif id_ < self.vocab_size:
                run.append(id_)
        return "".join([*parts, self._pieces.decode(run)])

    def special(self, name: str) -> int:
        """Id of a special token. Raises KeyError if there is none."""
        if (token_id := self._id(name)) is None:
            raise KeyError(f"{self.path} has no piece {RELEASED_NAMES.get(name, name)!r} for {name!r}.")
        return token_id

    def _id(self, name: str) -> int | None:
        piece = RELEASED_NAMES.get(name, name)
        token_id: int = self._pieces.piece_to_id(piece)
        return token_id if self._pieces.id_to_piece(token_id) == piece else None

    def pieces(self) -> list[str]:
        """How the vocabulary spells each id, with ChatML tokens by their own names."""
        return [self._names.get(id_, self._pieces.id_to_piece(id_)) for id_ in range(self.vocab_size)]


class ByteTokenizer:
    """UTF-8 bytes, then the special tokens: for tests and for data that no vocabulary fits."""

    def __init__(self) -> None:
        self.path = None
        self.begin: tuple[int, ...] = ()
        self.vocab_size = 256 + len(SPECIAL_TOKENS)

    def encode(self, text: str) -> list[int]:
        """The bytes of the text."""
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens spelt out, broken bytes replaced."""
        known = [id_ for id_ in ids if id_ < self.vocab_size]
        raw = b"".join(bytes([i]) if i < 256 else SPECIAL_TOKENS[i - 256].encode() for i in known)
        return raw.decode(errors="replace")

    def special(self, name: str) -> int:
        """Id of a special token. Raises KeyError if there is none."""
        if name not in SPECIAL_TOKENS:
            raise KeyError(f"The byte tokenizer has no token {name!r}. It has {', '.join(SPECIAL_TOKENS)}.")
        return 256 + SPECIAL_TOKENS.index(name)

    def pieces(self) -> list[str]:
        """How the vocabulary spells each id: bytes as characters of Latin-1."""
        return [*map(chr, range(256)), *SPECIAL_TOKENS]


def existing(path: str | Path) -> Path:
    """The path of a tokenizer's file.

    Raises:
        FileNotFoundError: If the file does not exist.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The tokenizer file {path} does not exist. `internlm2 vocabulary` trains one.")
    return path


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Ids of the special tokens that a vocabulary has, by our names."""
    found: dict[str, int] = {}
    for name in SPECIAL_TOKENS:
        try:
            found[name] = tokenizer.special(name)
        except KeyError:
            continue
    return found


def check_same_vocabulary(tokenizer: Tokenizer, model: str | Path) -> None:
    """Refuse a tokenizer that gives a model's ids another meaning.

    Args:
        tokenizer: The tokenizer that the model shall be used with.
        model: The model's folder. If it holds no tokenizer, any one will do.

    Raises:
        ValueError: If the two differ. The error names the first id that they spell differently.
    """
    try:
        own = load_tokenizer(model).pieces()
    except FileNotFoundError:
        return
    given = tokenizer.pieces()
    if given == own:
        return
    size = min(len(given), len(own))
    id_ = next((i for i, (a, b) in enumerate(zip(given, own, strict=False)) if a != b), size)
    here, there = (repr(pieces[id_]) if id_ < len(pieces) else "nothing" for pieces in (given, own))
    raise ValueError(
        f"The tokenizer is not that of {model}: id {id_} of {len(given)} is {here}, "
        f"but {there} of {len(own)} in the model's."
    )


def load_tokenizer(path: str | Path, like: str | Path | None = None) -> Tokenizer:
    """The tokenizer of a model folder or file, recognised by its name.

    Args:
        path: A folder that holds ``tokenizer.json`` or ``tokenizer.model``, or such a file.
        like: Folder of a model that the tokenizer is to be used with. None asks for none.

    Raises:
        FileNotFoundError: If neither is there.
        ValueError: If the model ``like`` gives the ids another meaning.
    """
    path = Path(path)
    if not path.suffix and not path.exists():
        raise FileNotFoundError(f"{path} does not exist. It must be a model folder or a tokenizer file.")
    if path.is_dir():
        files = [path / name for name in ("tokenizer.json", "tokenizer.model") if (path / name).is_file()]
        if not files:
            raise FileNotFoundError(f"{path} holds no tokenizer: neither tokenizer.json nor tokenizer.model.")
        path = files[0]
    tokenizer = ReleasedTokenizer(path) if path.suffix == ".model" else TrainedTokenizer(path)
    if like is not None:
        check_same_vocabulary(tokenizer, like)
    return tokenizer
