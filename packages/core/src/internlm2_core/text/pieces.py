"""A SentencePiece model as a ``tokenizer.json``, with the ChatML names for its spare pieces.

Transformers, vLLM and others then give the ids of the SentencePiece library, and ChatML names are special tokens.
"""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from internlm2_core.text.tokenizer import RELEASED_NAMES, SPECIAL_TOKENS

BPE, IDENTITY = 2, "identity"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
"""Numbers of SentencePiece's format for model types and types of pieces."""


def tokenizer_of_pieces(file: str | Path) -> Tokenizer:
    """The tokenizer of a ``tokenizer.model``.

    Raises:
        ModuleNotFoundError: If sentencepiece or protobuf is not installed.
        ValueError: If the model is not byte-pair encoding of unchanged text.
    """
    try:
        from sentencepiece import sentencepiece_model_pb2
    except (ModuleNotFoundError, TypeError) as error:
        raise ModuleNotFoundError(
            'sentencepiece or protobuf is not installed: pip install "internlm2-core[released-tokenizer]".'
        ) from error
    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    model.ParseFromString(Path(file).read_bytes())
    kind, rules = model.trainer_spec.model_type, model.normalizer_spec
    if kind != BPE or rules.name != IDENTITY or rules.remove_extra_whitespaces:
        raise ValueError(f"{file} is not byte-pair encoding of unchanged text: model_type={kind}, {rules.name!r}.")
    names = {piece: name for name, piece in RELEASED_NAMES.items()}
    pieces = [names.get(piece.piece, piece.piece) for piece in model.pieces]
    merged = {piece.piece: id_ for id_, piece in enumerate(model.pieces) if piece.type == NORMAL}
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: id_ for id_, piece in enumerate(pieces)},
            merges=merges_of(merged, [piece.score for piece in model.pieces]),
            unk_token=next(piece.piece for piece in model.pieces if piece.type == UNKNOWN),
            fuse_unk=True,
            byte_fallback=model.trainer_spec.byte_fallback,
        )
    )
    spaces: list[normalizers.Normalizer] = [normalizers.Replace(" ", "\u2581")]
    words = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    if rules.add_dummy_prefix:
        spaces, words = [normalizers.Prepend("\u2581"), *spaces], [*words, decoders.Strip(" ", 1, 0)]
    tokenizer.normalizer, tokenizer.decoder = normalizers.Sequence(spaces), decoders.Sequence(words)
    special = {*SPECIAL_TOKENS, *(piece.piece for piece in model.pieces if piece.type in (UNKNOWN, CONTROL))}
    whole = [pieces[id_] for id_, piece in enumerate(model.pieces) if piece.type in (UNKNOWN, CONTROL, USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=name in special) for name in whole])
    return tokenizer


def merges_of(ids: dict[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """The merges that make each piece of two others, best first.

    Args:
        ids: Pieces and their ids.
        scores: Score of each id. The highest is merged first.
    """
    found = [
        (-scores[id_], ids[piece[:cut]], ids[piece[cut:]], piece[:cut], piece[cut:])
        for piece, id_ in ids.items()
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids
    ]
    return [(left, right) for *_, left, right in sorted(found)]
