"""Settings of decontamination."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MatchSettings:
    """What counts as an item of an evaluation set.

    Attributes:
        threshold: Least share of a part that a document must hold in order, by number and by weight of its tokens.
        question_words: Shorter questions are only looked for together with their answers. Two characters of a script
            without spaces count as a word.
        answer_words: Shorter answers are not looked for alone.
        distinct: Least weight of a part, in tokens that no other item has. Lighter ones are not looked for alone.
        seeds_at_most: 4-grams that more parts hold begin no alignment.
    """

    threshold: float = 0.8
    question_words: float = 8
    answer_words: float = 13
    distinct: float = 3.0
    seeds_at_most: int = 200

    def __post_init__(self) -> None:
        """Check the threshold."""
        if not 0.5 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold} must be in [0.5, 1].")
