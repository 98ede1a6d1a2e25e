"""The four sets.

    place of an instance    0 ....... heldout ....... + lookalike ....... + unseen ....... 1
    set                     |  heldout   |   lookalike    |                |     train     |
                                                          |           prompts              |

Ranges of `Instance.place` keep the first two apart from the others by content, whatever the wording (arithmetic
excepted, see there). Prompts are what annotators and PPO work with. SFT has not seen a share of them, so its model
makes mistakes there, from which a reward model can learn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

from internlm2_data.miniature.written.instructions import arithmetic, copying, formatting, retrieval, sorting
from internlm2_data.miniature.written.instructions.instance import Instance
from internlm2_data.miniature.written.instructions.record import Record, record_of
from internlm2_data.miniature.written.instructions.words import LANGUAGES, Language

Draw = Callable[[Random, Language], Instance]
TASKS: Mapping[str, Draw] = MappingProxyType(
    {
        "arithmetic": arithmetic.draw,
        "copying": copying.draw,
        "sorting": sorting.draw,
        "formatting": formatting.draw,
        "retrieval": retrieval.draw,
        "refusing": retrieval.draw_private,
    }
)
# Draws for one new instance: a range that has so few left is reported instead of searched for ever.
MAX_DRAWS = 20_000


@dataclass(frozen=True)
class Shares:
    """Shares of all possible instances that are kept away from training.

    Attributes:
        heldout: For the held-out set.
        lookalike: For the reference set of contamination figures.
        unseen: For prompts that training leaves out.

    Raises:
        ValueError: If they are more than a half together, or one of them is 0.
    """

    heldout: float = 0.15
    lookalike: float = 0.09
    unseen: float = 0.1

    def __post_init__(self) -> None:
        """Check that some is left to train on."""
        shares = (self.heldout, self.lookalike, self.unseen)
        if min(shares) <= 0 or sum(shares) > 0.5:
            raise ValueError(
                f"heldout={self.heldout}, lookalike={self.lookalike} and unseen={self.unseen} must be above 0, and "
                "together 0.5 or less."
            )

    def range_of(self, name: str) -> tuple[float, float]:
        """Places of a set: from the first number to below the second."""
        tested = self.heldout + self.lookalike
        bounds = {
            "heldout": (0.0, self.heldout),
            "lookalike": (self.heldout, tested),
            "prompts": (tested, 1.0),
            "train": (tested + self.unseen, 1.0),
        }
        return bounds[name]


def write_set(
    name: str, count: int, seed: int, shares: Shares, weights: Mapping[str, float] | None = None
) -> list[Record]:
    """Write one set, in random order.

    No question comes twice in `heldout` or `lookalike`. In `train` and `prompts` the few sums there are come often, in
    both styles.

    Args:
        name: Train, prompts, heldout or lookalike.
        count: Records in all, as many in one language as in the other.
        seed: Of what is drawn.
        shares: Which instances belong to the set.
        weights: Of tasks, 1 where none is given.

    Raises:
        ValueError: If there are not so many different instances, or a weight is not of a task.
    """
    records: list[Record] = []
    for (task, language), size in cell_sizes(count, weights or {}).items():
        records += _cell(name, task, language, size, seed, shares)
    Random(f"{seed}/{name}").shuffle(records)
    return records


def cell_sizes(count: int, weights: Mapping[str, float]) -> dict[tuple[str, Language], int]:
    """Records of each task in each language, as near to the weights as whole numbers go.

    Args:
        count: Records in all.
        weights: Weights of the tasks, 1 where none is given.

    Raises:
        ValueError: If a weight is negative or not of a task, or all are 0.
    """
    of_task = {task: weights.get(task, 1.0) for task in TASKS}
    total = sum(of_task.values()) * len(LANGUAGES)
    if unknown := set(weights) - set(TASKS):
        raise ValueError(f"weights name {min(unknown)}, but the tasks are {', '.join(TASKS)}.")
    if min(of_task.values()) < 0 or not total:
        raise ValueError(f"weights={dict(weights)} must not be negative, nor all of them 0.")
    sizes: dict[tuple[str, Language], int] = {}
    done, before = 0.0, 0
    for task, weight in of_task.items():
        for language in LANGUAGES:
            # Rounding where cells end, not each cell, makes them add up.
            done += weight
            end = round(count * done / total)
            sizes[task, language], before = end - before, end
    return sizes


def _cell(name: str, task: str, language: Language, count: int, seed: int, shares: Shares) -> list[Record]:
    rng = Random(f"{seed}/{name}/{task}/{language}")
    seen: set[str] = set()
    records = []
    for number in range(count):
        instance = _next(rng, TASKS[task], language, shares.range_of(name), seen)
        if instance is None:
            raise ValueError(
                f"There are only {number} different instances of {task} in {language} for the set {name}, not {count}. "
                f"Ask for fewer, or raise the share of {name}."
            )
        if name in ("heldout", "lookalike"):
            seen.add(instance.question)
        records.append(record_of(instance, task, f"{name}-{task}-{language}-{number:05d}", rng))
    return records


def _next(rng: Random, draw: Draw, language: Language, places: tuple[float, float], seen: set[str]) -> Instance | None:
    for _ in range(MAX_DRAWS):
        instance = draw(rng, language)
        if places[0] <= instance.place < places[1] and instance.question not in seen:
            return instance
    return None
