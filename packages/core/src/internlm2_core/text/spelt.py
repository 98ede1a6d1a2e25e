"""How many bytes of text a token spells."""

import re
from collections.abc import Callable

from tokenizers import pre_tokenizers

from internlm2_core.text.tokenizer import ByteTokenizer, Tokenizer, special_ids

SPACE = "▁"
"""A space in the pieces of SentencePiece."""


def byte_counts(tokenizer: Tokenizer) -> list[int]:
    """UTF-8 bytes that each id spells. Special tokens spell nothing.

    A character may be spread over several tokens, and the last of a row may be one of them. So bytes are counted by
    token and not in decoded text, in which half a character cannot be told.

    Args:
        tokenizer: Byte-level BPE, SentencePiece, or single bytes.
    """
    pieces, special = tokenizer.pieces(), set(special_ids(tokenizer).values())
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    count: Callable[[str], int] = of_text
    if isinstance(tokenizer, ByteTokenizer):
        count = len
    elif alphabet <= set(pieces):
        # A byte is spelt as one character. Added tokens are spelt as they are.
        count = lambda piece: len(piece) if alphabet.issuperset(piece) else len(piece.encode())  # noqa: E731
    return [0 if id_ in special else count(piece) for id_, piece in enumerate(pieces)]


def of_text(piece: str) -> int:
    """Bytes of a SentencePiece piece, ``<0xE4>`` among them."""
    return 1 if re.fullmatch(r"<0x[0-9A-F]{2}>", piece) else len(piece.replace(SPACE, " ").encode())


def added_spaces(tokenizer: Tokenizer) -> int:
    """Spaces that the first token of a text spells and the text does not hold, as Llama's tokenizers put one there."""
    first = tokenizer.encode("a")[:1]
    return sum(tokenizer.pieces()[id_].startswith(SPACE) for id_ in first)
