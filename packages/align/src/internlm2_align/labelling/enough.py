"""Whether there are enough labels, and how many are missing."""

from collections import Counter
from collections.abc import Collection, Mapping

from internlm2_align.labelling.labels import Labels

Least = int | Mapping[str, int] | None
"""Labels that are wanted: of all domains together, of each domain that is named, or (None) of every comparison."""


def missing(labels: Labels, least: Least) -> dict[str, tuple[int, int]]:
    """What is missing until there are enough labels.

    A skip does not count as a label. With a number, other comparisons must make up for it.

    Args:
        labels: What was asked and answered.
        least: Labels wanted. More than there are comparisons means all of them.

    Returns:
        Labels that are there and labels that are wanted, by domain (``all`` for a number of all domains), where some
        are missing. Empty if there are enough.
    """
    wanted_by_id = labels.wanted()
    asked = Counter(comparison.domain for comparison in wanted_by_id.values())
    skipped, found = Counter[str](), Counter[str]()
    for id_ in wanted_by_id.keys() & labels.judgements.keys():
        is_skipped = labels.judgements[id_].verdict == "skip"
        (skipped if is_skipped else found)[wanted_by_id[id_].domain] += 1
    if least is None:
        counts = {domain: (found[domain] + skipped[domain], asked[domain]) for domain in asked}
    elif isinstance(least, Mapping):
        counts = {domain: (found[domain], min(least[domain], asked[domain] - skipped[domain])) for domain in least}
    else:
        counts = {"all": (found.total(), min(least, asked.total() - skipped.total()))}
    return {domain: (there, wanted) for domain, (there, wanted) in sorted(counts.items()) if there < wanted}


def check_least(least: Least, domains: Collection[str]) -> None:
    """Refuse numbers that no labels can be.

    Args:
        least: Labels wanted.
        domains: Those of the prompts.

    Raises:
        ValueError: If a number is below 1, or a domain has no prompt.
    """
    if not isinstance(least, Mapping):
        if least is not None and least < 1:
            raise ValueError(f"least={least} labels must be 1 or more, or null for all.")
        return
    for domain, number in least.items():
        if domain not in domains:
            raise ValueError(
                f"least names {domain}, of which there is no prompt. There are {', '.join(sorted(domains))}."
            )
        check_least(number, domains)
