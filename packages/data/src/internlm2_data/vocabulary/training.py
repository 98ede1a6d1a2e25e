"""Training of the vocabulary."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_records.progress import LineProgress
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from internlm2_data.io.inputs import expand_inputs
from internlm2_data.stages.manifest import write_json
from internlm2_data.tokens.token_file import tokenizer_digest
from internlm2_data.vocabulary.sample import BalancedSample
from internlm2_data.vocabulary.specials import SPECIAL_TOKENS

_DIGITS = {True: r"\p{N}", False: r"\p{N}{1,3}"}
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Pieces of a document: the trainer counts words, and words do not reach over line breaks.
PIECE_CHARACTERS = 20_000


def train_vocabulary(
    inputs: Sequence[str],
    output: str | Path,
    size: int = 92_544,
    single_digits: bool = False,
    sample_bytes: int = 2_000_000_000,
    min_frequency: int = 2,
    others: Mapping[str, str] | None = None,
) -> None:
    """Train a vocabulary and write `tokenizer.json` and `card.json` into `output`.

    The sample holds equal shares of English, Chinese and code as far as there is so much of each, in the order of
    the inputs.

    Args:
        inputs: Files and folders of documents.
        output: Folder to write to.
        size: Number of ids, special tokens and the 256 bytes included.
        single_digits: Whether each digit is a token of its own (cl100k groups up to three).
        sample_bytes: Bytes of text to train on.
        min_frequency: Rarer pairs are not merged.
        others: Files `tokenizer.json` by name. The card says how many bytes a token of theirs has in the same texts.

    Raises:
        FileNotFoundError: If one of the others is not there.
        ValueError: If `size` has no room for the bytes, or the inputs too little text for it.
    """
    compared = {name: _opened(name, Path(file)) for name, file in (others or {}).items()}
    least = 256 + len(SPECIAL_TOKENS)
    if size <= least:
        raise ValueError(f"size={size} must be above {least}, the number of bytes and special tokens.")
    sample = BalancedSample(expand_inputs(inputs), sample_bytes)
    if next(iter(sample), None) is None:
        raise ValueError(f"inputs={list(inputs)} hold no text to train a vocabulary on.")
    tokenizer = _trained(sample, size, single_digits, min_frequency)
    if tokenizer.get_vocab_size() < size:
        raise ValueError(
            f"size={size} must be {tokenizer.get_vocab_size()} or less: inputs={list(inputs)} have no more tokens "
            "in them."
        )
    save(tokenizer, Path(output), {"single_digits": single_digits}, sample, compared)


def save(
    tokenizer: Tokenizer,
    folder: Path,
    about: Mapping[str, Any],
    sample: BalancedSample,
    others: Mapping[str, Tokenizer] | None = None,
) -> None:
    """Write `tokenizer.json` and `card.json`.

    Args:
        tokenizer: A vocabulary.
        folder: Folder to write to.
        about: What the card says of how it was made.
        sample: What it was made from.
        others: Vocabularies to compare it with on the same texts.
    """
    shown = sample.shown()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "tokenizer.json.part"
    tokenizer.save(str(part))
    digest = tokenizer_digest(part)
    part.replace(folder / "tokenizer.json")
    card = {
        "size": tokenizer.get_vocab_size(),
        **about,
        "tokenizer_sha256": digest,
        "sample_bytes": sample.sizes(),
        "bytes_per_token": _compression(tokenizer, shown),
        "others": {
            name: {"size": other.get_vocab_size(), "bytes_per_token": _compression(other, shown)}
            for name, other in (others or {}).items()
        },
    }
    write_json(folder / "card.json", card)


def _trained(sample: BalancedSample, size: int, single_digits: bool, min_frequency: int) -> Tokenizer:
    tokenizer = untrained(single_digits)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    with LineProgress() as progress:
        progress.add_task(f"training a vocabulary of {size}", total=None)
        tokenizer.train_from_iterator(_pieces(sample), trainer)
    return tokenizer


def untrained(single_digits: bool) -> Tokenizer:
    """Byte-level BPE without merges, splitting as cl100k does."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_SPLIT.format(digits=_DIGITS[single_digits])), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def bytes_per_token(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Compression of texts.

    Args:
        tokenizer: A vocabulary.
        texts: What to encode.
    """
    plain = [text.encode("utf-8", "replace").decode() for text in texts]
    tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(plain, add_special_tokens=False))
    return round(sum(len(text.encode()) for text in plain) / max(1, tokens), 3)


def _opened(name: str, file: Path) -> Tokenizer:
    if not file.is_file():
        raise FileNotFoundError(f"others.{name}={file} is not there. It must be a tokenizer.json.")
    return Tokenizer.from_file(str(file))


def _compression(tokenizer: Tokenizer, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
    return {name: bytes_per_token(tokenizer, some) for name, some in texts.items()}


def _pieces(sample: BalancedSample) -> Iterator[str]:
    for text in sample.texts():
        for start in range(0, len(text), PIECE_CHARACTERS):
            yield text[start : start + PIECE_CHARACTERS].encode("utf-8", "replace").decode()
