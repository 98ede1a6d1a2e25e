"""Chinese tokens on top of a vocabulary: merges of what it makes of Chinese text, never of parts of a character."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

# Runs of ideographs. What is between them keeps the tokens that it has.
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]+")
# Units are written as private characters while their merges are learnt.
_FIRST_PRIVATE, _PRIVATE = 0xF0000, 65_000


@dataclass
class ChineseTokens:
    """New tokens and merges, in order.

    Attributes:
        tokens: Tokens that the vocabulary lacks.
        merges: Pairs that make them, or that make a token which is there already.
    """

    tokens: list[bytes] = field(default_factory=list)
    merges: list[tuple[bytes, bytes]] = field(default_factory=list)


def learn(
    texts: Callable[[], Iterable[str]],
    encode: Callable[[str], Sequence[bytes]],
    known: set[bytes],
    size: int,
    min_frequency: int = 2,
    coverage: float = 0.9995,
) -> ChineseTokens:
    """Learn tokens from text, which is read twice.

    Args:
        texts: Gives the texts, each time from the beginning.
        encode: Tokens of a run of ideographs in the vocabulary so far.
        known: Its tokens.
        size: How many new tokens to learn. Fewer if the texts have no more.
        min_frequency: Rarer pairs are left alone.
        coverage: Share of all ideographs that are to have tokens of their own. The rarest are left in pieces.
    """
    counts: Counter[tuple[bytes, ...]] = Counter()
    for text in texts():
        for run in HAN.findall(text):
            counts.update(units(encode(run)))
    frequent = _covering(counts, coverage)[:_PRIVATE]
    names = {unit: chr(_FIRST_PRIVATE + number) for number, unit in enumerate(frequent)}
    found = ChineseTokens()
    have = set(known)
    for unit in frequent:
        _compose(unit, have, found, size)
    words = (" ".join(_words(run, encode, names)) for text in texts() for run in HAN.findall(text))
    spelt = {name: b"".join(unit) for unit, name in names.items() if b"".join(unit) in have}
    for left, right in _trained(words, list(names.values()), 2 * size, min_frequency):
        if left in spelt and right in spelt:
            spelt[left + right] = spelt[left] + spelt[right]
            if not _add(spelt[left], spelt[right], have, found, size):
                break
    return found


def _covering(counts: Counter[tuple[bytes, ...]], coverage: float) -> list[tuple[bytes, ...]]:
    """The most frequent units that make up so much of all."""
    left = coverage * counts.total()
    found = []
    for unit, count in counts.most_common():
        if left <= 0:
            break
        found.append(unit)
        left -= count
    return found


def units(tokens: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    """The shortest runs of tokens that are whole characters."""
    unit: list[bytes] = []
    for token in tokens:
        unit.append(token)
        # Cut anywhere, UTF-8 says where a character begins, and how long it is.
        if _is_whole(b"".join(unit)):
            yield tuple(unit)
            unit = []


def _is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _words(run: str, encode: Callable[[str], Sequence[bytes]], names: dict[tuple[bytes, ...], str]) -> list[str]:
    """A run as private characters, split where a unit is too rare to have one."""
    return "".join(names.get(unit, " ") for unit in units(encode(run))).split()


def _trained(words: Iterable[str], alphabet: list[str], size: int, min_frequency: int) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + size,
        min_frequency=min_frequency,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(words, trainer)
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def _compose(unit: tuple[bytes, ...], have: set[bytes], found: ChineseTokens, size: int) -> None:
    """Merges that make one token of a unit of several, from the left."""
    whole = unit[0]
    for token in unit[1:]:
        if not _add(whole, token, have, found, size):
            return
        whole += token


def _add(left: bytes, right: bytes, have: set[bytes], found: ChineseTokens, size: int) -> bool:
    """Add a merge, and its token if that is new. False where there is no room for it."""
    if left + right not in have:
        if len(found.tokens) == size:
            return False
        have.add(left + right)
        found.tokens.append(left + right)
    found.merges.append((left, right))
    return True
