"""What data there is, so that a resumed run tells whether it is still the same."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import starmap
from typing import Any, NamedTuple


class Manifest(NamedTuple):
    """One source of data, in JSON types.

    Attributes:
        name: What it is called, wherever its files are.
        documents: How many there are.
        tokens: How many they have.
        contents: A hash of tokens and lengths. Empty where it is not known.
    """

    name: str
    documents: int
    tokens: int
    contents: str


def check_same(saved: Iterable[Sequence[Any]], now: Iterable[Sequence[Any]]) -> None:
    """Refuse to resume with other data.

    Args:
        saved: The sources that the saved state is of, as JSON gives them back.
        now: Those of this run.

    Raises:
        ValueError: If they are not the same. It says in words how they differ.
    """
    if found := differences(starmap(Manifest, saved), starmap(Manifest, now)):
        raise ValueError(
            f"The saved loader state is of other data: {'. '.join(found)}. Resume with the same data, or start a new "
            "phase from the weights alone."
        )


def differences(saved: Iterable[Manifest], now: Iterable[Manifest]) -> list[str]:
    """How two lists of sources differ, a clause for each source that does.

    Args:
        saved: The earlier one.
        now: The later one.
    """
    before, after = _by_name(saved), _by_name(now)
    return [
        words
        for name in dict.fromkeys([*before, *after])
        if (words := _difference(name, before.get(name), after.get(name)))
    ]


def _by_name(manifests: Iterable[Manifest]) -> Mapping[str, Manifest]:
    # Long and short rows may come from files of one name.
    seen: Counter[str] = Counter()
    found = {}
    for manifest in manifests:
        seen[manifest.name] += 1
        times = seen[manifest.name]
        found[manifest.name + (f" ({times})" if times > 1 else "")] = manifest
    return found


def _difference(name: str, before: Manifest | None, after: Manifest | None) -> str:
    if before is None or after is None:
        return f"{name} is new" if before is None else f"{name} is gone"
    counts: Sequence[tuple[str, int, int]] = [
        ("documents", before.documents, after.documents),
        ("tokens", before.tokens, after.tokens),
    ]
    if changed := [f"{old:,} {what} and now has {new:,}" for what, old, new in counts if old != new]:
        return f"{name} had {', '.join(changed)}"
    known = before.contents and after.contents
    return f"{name} has as many tokens as before, but others" if known and before.contents != after.contents else ""
