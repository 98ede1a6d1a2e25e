"""The tokens of the chat format for a model whose vocabulary lacks them, as fine-tuning needs them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import AddedToken
from tokenizers import Tokenizer as TokenizersTokenizer
from torch import Tensor

from internlm2_core.checkpoint.tokenizer_files import CONFIG
from internlm2_core.nn.init import NamedTensors
from internlm2_core.text.pieces import tokenizer_of_pieces
from internlm2_core.text.tokenizer import SPECIAL_TOKENS, load_tokenizer, special_ids

ROWS = 64
"""A vocabulary that grows is filled up to a multiple of this, which tensor parallelism divides."""


def write_with_names(source: Path, folder: Path) -> Path:
    """Write a ``tokenizer.json`` that has all special tokens. What the source says of its beginning goes along.

    Args:
        source: A model folder.
        folder: Where.

    Returns:
        The file.
    """
    tokenizer = load_tokenizer(source)
    file = tokenizer.path
    assert file is not None
    made = TokenizersTokenizer.from_file(str(file)) if file.suffix == ".json" else tokenizer_of_pieces(file)
    known = special_ids(tokenizer)
    made.add_special_tokens(
        [AddedToken(name, normalized=False, special=True) for name in SPECIAL_TOKENS if name not in known]
    )
    made.save(str(folder / "tokenizer.json"))
    if (source / CONFIG).is_file():
        shutil.copyfile(source / CONFIG, folder / CONFIG)
    return folder / "tokenizer.json"


def rows_for(vocabulary: int, rows: int) -> int:
    """Rows that an embedding needs.

    Args:
        vocabulary: Number of ids.
        rows: Rows that it has.
    """
    return rows if vocabulary <= rows else -(-vocabulary // ROWS) * ROWS


def grown(tensors: NamedTensors, rows: int) -> Iterator[tuple[str, Tensor]]:
    """Tensors with more rows of embedding and head. A new row is the mean of the others, which nothing prefers.

    Args:
        tensors: Names and tensors in released layout.
        rows: Rows that embedding and head shall have.
    """
    for name, tensor in tensors:
        if name in ("model.tok_embeddings.weight", "output.weight") and len(tensor) < rows:
            mean = tensor.mean(0, keepdim=True, dtype=torch.float32).to(tensor.dtype)
            yield name, torch.cat((tensor, mean.expand(rows - len(tensor), -1)))
        else:
            yield name, tensor
