"""Documents to token ids."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from internlm2_data.tokens.fast import CHECKED_EVERY, Ids, OtherIdsError, fast_encoder
from internlm2_data.tokens.token_file import opening_token, tokenizer_digest, tokenizer_file

END_OF_DOCUMENT = "</s>"


class TextEncoder:
    """Encodes texts with a `tokenizer.json`, special tokens in a text as the characters that they are.

    A text begins with ``<s>`` where ``tokenizer_config.json`` beside the file says so (``add_bos_token``), as for
    published models.

    Args:
        path: The file, or a model folder that holds it.
        end: Name of the token that ends a document. None ends none.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is not a tokenizer, or has no such token.
    """

    def __init__(self, path: str | Path, end: str | None = END_OF_DOCUMENT) -> None:
        self.path = tokenizer_file(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"tokenizer={self.path} is missing. Run `internlm2 vocabulary`.")
        self.end, self.begin = end, opening_token(self.path)
        last = None if end is None else self._tokenizer.token_to_id(end)
        if end is not None and last is None:
            raise ValueError(f"The tokenizer {path} has no token {end} to end documents with.")
        first = None if self.begin is None else self._tokenizer.token_to_id(self.begin)
        self._begin, self._end = (np.array([] if id is None else [id], np.uint32) for id in (first, last))

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self._digest

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, with the opening token before it and the one that ends documents behind it."""
        return [ids.tolist() for ids in self.arrays(texts, fast=False)]

    def arrays(self, texts: Sequence[str], fast: bool) -> list[Ids]:
        """What `encode` gives, as arrays.

        Args:
            texts: The texts.
            fast: Encode with gigatoken where it is installed and knows this tokenizer. One text of 64 is encoded by
                Hugging Face's encoder too.

        Raises:
            OtherIdsError: If the two differ.
        """
        clean = [text.encode("utf-8", "replace") for text in texts]
        encoder = fast_encoder(self.path, self.sha256) if fast else None
        if encoder is None:
            found = self._slow(clean)
        else:
            found = encoder.encode(clean)
            checked = slice(len(clean[0]) % CHECKED_EVERY if clean else 0, None, CHECKED_EVERY)
            for text, ours, theirs in zip(clean[checked], found[checked], self._slow(clean[checked]), strict=True):
                if not np.array_equal(ours, theirs):
                    raise OtherIdsError(text.decode())
        return [np.concatenate([self._begin, ids, self._end]) for ids in found]

    def _slow(self, texts: Sequence[bytes]) -> list[Ids]:
        encodings = self._tokenizer.encode_batch_fast([text.decode() for text in texts], add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encodings]

    @cached_property
    def _digest(self) -> str:
        return tokenizer_digest(self.path)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            tokenizer = Tokenizer.from_file(str(self.path))
        except Exception as error:
            raise ValueError(f"{self.path} is not a tokenizer file: {error}.") from None
        tokenizer.encode_special_tokens = True
        return tokenizer

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "end": self.end, "_end": self._end, "begin": self.begin, "_begin": self._begin}
