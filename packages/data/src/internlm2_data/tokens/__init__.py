"""Token files: the tokens of all documents of one source, end to end.

    NAME.00000.bin      token ids, little-endian uint16 or uint32. One a shard, end to end, or one NAME.bin
    NAME.offsets.npy    int64 [documents + 1]: document i is bin[offsets[i]:offsets[i + 1]]
    NAME.documents.npy  id and hash of each document, by which `internlm2 trace` finds it
    NAME.json           {"dtype", "documents", "tokens", "vocabulary", "contents", "tokenizer_sha256", ...}

The card (NAME.json) is written last, so a folder in which a write was killed never shows a half file as a
whole one. `TokenSource` reads by memory map, or by ranges from a store: opening a terabyte costs
nothing.
"""

from internlm2_data.tokens.token_file import TokenSource, token_sources
from internlm2_data.tokens.token_writer import TokenWriter

__all__ = ["TokenSource", "TokenWriter", "token_sources"]
