"""Documents to token ids."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from internlm2_data.tokens.token_file import opening_token, tokenizer_digest, tokenizer_file

END_OF_DOCUMENT = "</s>"


class TextEncoder:
    """Encodes texts with a `tokenizer.json`, special tokens in a text as the characters that they are.

    A text begins with ``<s>`` where ``tokenizer_config.json`` beside the file says so (``add_bos_token``), as for
    published models.

    Args:
        path: The file, or a model folder that holds it.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is not a tokenizer, or has no ``</s>``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = tokenizer_file(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"tokenizer={self.path} is missing. Run `internlm2 vocabulary`.")
        end = self._tokenizer.token_to_id(END_OF_DOCUMENT)
        if end is None:
            raise ValueError(f"The tokenizer {path} has no token {END_OF_DOCUMENT} to end documents with.")
        self._end = end
        self.begin = opening_token(self.path)
        begin = None if self.begin is None else self._tokenizer.token_to_id(self.begin)
        self._begin = [] if begin is None else [begin]

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def sha256(self) -> str:
        """Of the file."""
        return tokenizer_digest(self.path)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, the opening token before it and `</s>` at the end."""
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        return [
            [*self._begin, *encoding.ids, self._end]
            for encoding in self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)
        ]

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            tokenizer = Tokenizer.from_file(str(self.path))
        except Exception as error:
            raise ValueError(f"{self.path} is not a tokenizer file: {error}.") from None
        tokenizer.encode_special_tokens = True
        return tokenizer

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_end": self._end, "begin": self.begin, "_begin": self._begin}
