"""A corpus with planted near-duplicates: python planted.py OUTPUT [--documents 52000] [--shards 8] [--seed 0]

English and Chinese documents of Zipf-distributed words; a tenth of them start families of up to four copies, in
which from 0 to 40% of the words were replaced, deleted or inserted. Writes `OUTPUT/NNNNN.jsonl` (text, language,
dump, family) in which the members of a family are scattered over all shards. Only members of one family can be
near-duplicates.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = 60_000
EDITS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.3, 0.4)


def vocabulary(language: str, rng: np.random.Generator) -> np.ndarray:
    """Words of one to four syllables, or one to three Chinese characters."""
    if language == "zh":
        signs = [chr(0x4E00 + i) for i in range(6000)]
        return np.array(["".join(rng.choice(signs, rng.integers(1, 4))) for _ in range(VOCABULARY)])
    syllables = [a + b + c for a in "bcdfghklmnprstvw" for b in "aeiou" for c in ("", "n", "r", "s", "t", "l")]
    return np.array(["".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(VOCABULARY)])


class Writer:
    """Makes documents of one language."""

    def __init__(self, language: str, rng: np.random.Generator) -> None:
        self.language, self.rng, self.words = language, rng, vocabulary(language, rng)
        weights = 1 / (np.arange(VOCABULARY) + 2.7)
        self.cumulative = np.cumsum(weights / weights.sum())

    def draw(self, count: int) -> np.ndarray:
        """Word numbers."""
        return np.searchsorted(self.cumulative, self.rng.random(count))

    def fresh(self) -> np.ndarray:
        """A new document of 50 to 4,000 words."""
        return self.draw(int(np.clip(self.rng.lognormal(5.9, 0.7), 50, 4000)))

    def edited(self, numbers: np.ndarray, share: float) -> np.ndarray:
        """A copy in which about `share` of the words were changed, in thirds by replacement, deletion and insertion."""
        kind = self.rng.choice(4, numbers.size, p=[1 - share, share / 3, share / 3, share / 3])
        new = self.draw(numbers.size)
        pieces = np.where(kind == 1, new, numbers)
        repeats = np.where(kind == 2, 0, np.where(kind == 3, 2, 1))
        out = np.repeat(pieces, repeats)
        starts = np.cumsum(repeats)[kind == 3] - 1
        out[starts] = new[kind == 3]
        return out

    def text(self, numbers: np.ndarray) -> str:
        """Sentences of about fifteen words, paragraphs of about five sentences."""
        glue, stop = ("", "。") if self.language == "zh" else (" ", ". ")
        words = self.words[numbers].tolist()
        sentences = [glue.join(words[i : i + 15]) for i in range(0, len(words), 15)]
        return "\n\n".join(stop.join(sentences[i : i + 5]) + stop.strip() for i in range(0, len(sentences), 5))


def documents(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Records in random order."""
    rng = np.random.default_rng(seed)
    writers = [Writer("en", rng), Writer("zh", rng)]
    records: list[dict[str, Any]] = []
    while len(records) < count:
        writer = writers[int(rng.random() < 0.4)]
        base, family = writer.fresh(), len(records)
        copies = int(rng.integers(1, 5)) if rng.random() < 0.1 else 0
        edits = [0.0, *rng.choice(EDITS, copies)]
        for place, share in enumerate(edits):
            numbers = base if place == 0 else writer.edited(base, float(share))
            records.append(
                {
                    "text": writer.text(numbers),
                    "language": writer.language,
                    "type": "prose",
                    "dump": f"CC-MAIN-20{10 + int(rng.integers(0, 14))}-10",
                    "url": f"http://example.org/{family}/{place}",
                    "meta": {"family": family if copies else -1},
                }
            )
    for number in rng.permutation(count).tolist():
        yield records[number]


def write(output: Path, count: int, shards: int, seed: int) -> int:
    """Write the corpus; returns bytes of text."""
    output.mkdir(parents=True, exist_ok=True)
    files = [(output / f"{shard:05d}.jsonl").open("w", encoding="utf-8") for shard in range(shards)]
    total = 0
    for number, record in enumerate(documents(count, seed)):
        total += len(record["text"].encode())
        files[number % shards].write(json.dumps(record, ensure_ascii=False) + "\n")
    for file in files:
        file.close()
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--documents", type=int, default=52_000)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"{write(given.output, given.documents, given.shards, given.seed) / 1e6:.1f} MB of text")
