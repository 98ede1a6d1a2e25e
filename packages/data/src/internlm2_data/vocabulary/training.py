"""Training of the vocabulary."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from internlm2_records.progress import LineProgress
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from internlm2_data.io.documents import read_documents
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.io.items import Fault
from internlm2_data.stages.manifest import write_json
from internlm2_data.tokens.token_file import tokenizer_digest
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
    sample = _balanced_sample(expand_inputs(inputs), sample_bytes)
    if not any(sample.values()):
        raise ValueError(f"inputs={list(inputs)} hold no text to train a vocabulary on.")
    tokenizer = _trained(sample, size, single_digits, min_frequency)
    if tokenizer.get_vocab_size() < size:
        raise ValueError(
            f"size={size} must be {tokenizer.get_vocab_size()} or less: inputs={list(inputs)} have no more tokens "
            "in them."
        )
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "tokenizer.json.part"
    tokenizer.save(str(part))
    digest = tokenizer_digest(part)
    part.replace(folder / "tokenizer.json")
    card = {
        "size": tokenizer.get_vocab_size(),
        "single_digits": single_digits,
        "tokenizer_sha256": digest,
        "sample_bytes": {name: sum(len(t.encode("utf-8", "replace")) for t in texts) for name, texts in sample.items()},
        **_compression(tokenizer, sample),
        "others": {
            name: {"size": other.get_vocab_size(), **_compression(other, sample)} for name, other in compared.items()
        },
    }
    write_json(folder / "card.json", card)


def _trained(sample: dict[str, list[str]], size: int, single_digits: bool, min_frequency: int) -> Tokenizer:
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


def _balanced_sample(files: Sequence[Path], sample_bytes: int) -> dict[str, list[str]]:
    """Texts of English, Chinese, code and other, each at most an equal share of `sample_bytes`."""
    groups: dict[str, list[str]] = {"en": [], "zh": [], "code": [], "other": []}
    room = dict.fromkeys(groups, sample_bytes // 3)
    for path in files:
        for document in read_documents(path):
            if isinstance(document, Fault):
                continue
            name = "code" if document.type in ("code", "repository") else document.language
            name = name if name in groups else "other"
            if room[name] > 0:
                groups[name].append(document.text)
                room[name] -= document.num_bytes
    return {name: texts for name, texts in groups.items() if texts}


def _opened(name: str, file: Path) -> Tokenizer:
    if not file.is_file():
        raise FileNotFoundError(f"others.{name}={file} is not there. It must be a tokenizer.json.")
    return Tokenizer.from_file(str(file))


def _compression(tokenizer: Tokenizer, sample: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    return {"bytes_per_token": {name: _bytes_per_token(tokenizer, texts) for name, texts in sample.items()}}


def _bytes_per_token(tokenizer: Tokenizer, texts: Sequence[str], limit: int = 1_000_000) -> float:
    """Compression on the first texts, about a megabyte of them."""
    size = tokens = 0
    for text in texts:
        piece = text[:limit]
        tokens += len(tokenizer.encode(piece, add_special_tokens=False).ids)
        size += len(piece.encode("utf-8", "replace"))
        if size > limit:
            break
    return round(size / max(1, tokens), 3)


def _pieces(sample: dict[str, list[str]]) -> Iterator[str]:
    for texts in sample.values():
        for text in texts:
            for start in range(0, len(text), PIECE_CHARACTERS):
                yield text[start : start + PIECE_CHARACTERS].encode("utf-8", "replace").decode()
