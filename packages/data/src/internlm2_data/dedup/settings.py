"""Settings of deduplication."""

from dataclasses import dataclass

PERMUTATIONS = 128


@dataclass(frozen=True)
class DedupSettings:
    """Settings (report section 3.1.1: 128 hash functions, 5-grams, 0.7).

    Attributes:
        threshold: Least Jaccard index of near-duplicates.
        ngram: Tokens of a shingle.
        bands: Bands of the signature. A pair of Jaccard index s is found with probability 1 - (1 - s^rows)^bands.
        rows: Minima of a band.
        by_url: Whether older captures (by dump and date) of a URL are duplicates of the newest, whatever their texts.
        seed: Of the hash functions.
    """

    threshold: float = 0.7
    ngram: int = 5
    bands: int = 25
    rows: int = 5
    by_url: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        """Check that the bands fit the signature."""
        if self.bands * self.rows > PERMUTATIONS:
            raise ValueError(f"bands={self.bands} times rows={self.rows} must be {PERMUTATIONS} permutations or fewer.")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold} must be in (0, 1].")
