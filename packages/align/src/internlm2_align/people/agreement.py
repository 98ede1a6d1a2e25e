"""How far people agree beyond chance: Cohen's kappa of two, Krippendorff's alpha of any number.

Both are 1 where all agree, 0 where they agree as often as chance has it, and None where nothing can be said: nobody
judged the same, or one verdict was all that was ever given.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from itertools import permutations


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa (1960), unweighted.

    Args:
        pairs: The verdicts of one and of the other on each thing that both judged.
    """
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    agreed = sum(one == other for one, other in pairs)
    by_chance = sum(count * second[verdict] for verdict, count in first.items()) / max(1, len(pairs))
    if by_chance == len(pairs):
        return None
    return (agreed - by_chance) / (len(pairs) - by_chance)


def krippendorff_alpha(units: Sequence[Sequence[Hashable]]) -> float | None:
    """Krippendorff's alpha for nominal data (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", part C).

    Args:
        units: The verdicts on each thing, by however many people. One with fewer than two says nothing.
    """
    coincidences: dict[tuple[Hashable, Hashable], float] = defaultdict(float)
    for unit in units:
        for pair in permutations(unit, 2):
            coincidences[pair] += 1 / (len(unit) - 1)
    margins: dict[Hashable, float] = defaultdict(float)
    for (verdict, _), count in coincidences.items():
        margins[verdict] += count
    total = sum(margins.values())
    observed = sum(count for (one, other), count in coincidences.items() if one != other)
    expected = total**2 - sum(count**2 for count in margins.values())
    if not expected:
        return None
    return 1 - (total - 1) * observed / expected
