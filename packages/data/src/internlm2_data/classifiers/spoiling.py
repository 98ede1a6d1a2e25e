"""Ways to spoil a text, one for each side of fluency (report section 3.1.1), and to make it unwanted."""

import re
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files

import numpy as np

TARGETS = ("consistency", "noise", "information", "grammar")
UNWANTED = ("advertisement", "toxicity", "pornography")
Spoil = Callable[[str, str, str, np.random.Generator], str]

_SENTENCE = re.compile(r"[^.!?。！？]*[.!?。！？]+\s*|[^.!?。！？]+$")
_NOISE = "|/#*~^_=<>{}[]•■◆→»©®™|"


@lru_cache
def _phrases(kind: str, language: str) -> tuple[str, ...]:
    """Phrases of a kind ("menus", "empty", or one of `UNWANTED`), as written in `phrases/`."""
    return tuple(files(__package__).joinpath(f"phrases/{kind}.{language}.txt").read_text("utf-8").splitlines())


def sentences(text: str) -> list[str]:
    """Sentences with what follows them."""
    return [found for found in _SENTENCE.findall(text) if found.strip()]


def _mixed_up(text: str, other: str, language: str, rng: np.random.Generator) -> str:
    """Sentences of two texts in turn, in random order: nothing hangs together."""
    pool = [*sentences(text), *sentences(other)]
    return "".join(pool[i] for i in rng.permutation(len(pool))[: max(3, len(pool) // 2)])


def _noisy(text: str, other: str, language: str, rng: np.random.Generator) -> str:
    """Menus between the sentences and stray signs inside them."""
    made = []
    for sentence in sentences(text):
        if rng.random() < 0.4:
            made.append(" ".join(rng.choice(_phrases("menus", language), 3)) + "\n")
        made.append(_sprinkled(sentence, rng))
    return "".join(made)


def _empty(text: str, other: str, language: str, rng: np.random.Generator) -> str:
    """Phrases that say nothing, and one of the text's own sentences over and over."""
    own = sentences(text)
    kept = own[int(rng.integers(0, len(own)))]
    said = _phrases("empty", language)
    return "".join(kept if rng.random() < 0.4 else said[int(rng.integers(0, len(said)))] for _ in own[:40] + own[:5])


def _ungrammatical(text: str, other: str, language: str, rng: np.random.Generator) -> str:
    """Words of every sentence in another order (in Chinese, characters within small windows)."""
    made = []
    for sentence in sentences(text):
        parts = sentence.split() if language == "en" else list(sentence.strip())
        keys = np.arange(len(parts)) + rng.random(len(parts)) * 6
        made.append((" " if language == "en" else "").join(parts[i] for i in np.argsort(keys)))
    return (" " if language == "en" else "").join(made)


def unwanted(text: str, kind: str, language: str, rng: np.random.Generator) -> str:
    """Lines of an unwanted kind instead of most sentences, or among them.

    Args:
        text: A good text.
        kind: One of `UNWANTED`.
        language: Of the text.
        rng: Chooses lines and places.
    """
    lines = _phrases(kind, language)
    share = rng.choice([0.3, 0.6, 1.0])
    made = []
    for sentence in sentences(text)[:12] or [text]:
        if rng.random() < share:
            line = lines[int(rng.integers(0, len(lines)))]
            made.append(
                re.sub(r"\{n\}", lambda _: str(rng.integers(10, 999)), line) + ("\n" if language == "zh" else " ")
            )
        if rng.random() > share:
            made.append(sentence)
    return "".join(made) or unwanted(text, kind, language, rng)


def _sprinkled(sentence: str, rng: np.random.Generator) -> str:
    return "".join(c + (str(rng.choice(list(_NOISE))) if rng.random() < 0.06 else "") for c in sentence)


SPOIL: dict[str, Spoil] = dict(zip(TARGETS, (_mixed_up, _noisy, _empty, _ungrammatical), strict=True))
