"""Pairs that a round adds: those that show a hacking pattern (fast path), and fresh labels (slow path)."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from internlm2_align.labelling.annotator import Annotator, Record, reference_of
from internlm2_align.labelling.pairs import judged_pair
from internlm2_align.online.features import features_of, usual_lengths
from internlm2_align.online.hacking import Pattern
from internlm2_align.online.planting import with_feature
from internlm2_align.online.replies import Reply
from internlm2_align.preferences.preference import Preference


def fast_pairs(
    patterns: Sequence[Pattern],
    replies: Sequence[Reply],
    records: Mapping[str, Record],
    annotator: Annotator,
    *,
    least: int = 20,
    most: int = 100,
    seed: int = 1,
) -> list[Preference]:
    """Pairs whose rejected side shows a pattern and whose chosen side does not.

    First those that occurred: a late reply with the pattern against a better judged reply without it, to the same
    prompt. Where these are fewer than ``least``, the pattern is written into good replies (``meta["written"]``), if a
    rule can write it.

    Args:
        patterns: Of `Audit.patterns`.
        replies: That the patterns were found in.
        records: Instruction records by id.
        annotator: Confirms that the chosen side is better.
        least: Pairs wanted in all.
        most: Pairs taken in all, evenly from the patterns.
        seed: Of what is drawn.

    Returns:
        Pairs, none without patterns.
    """
    if not patterns:
        return []
    rng = random.Random(seed)
    share = most // len(patterns)
    pairs = []
    for pattern in patterns:
        occurred = _occurred(pattern, replies, records, annotator)
        rng.shuffle(occurred)
        wanted = -(-least // len(patterns)) - len(occurred)
        written = _written(pattern, records, annotator, rng, wanted) if wanted > 0 else []
        pairs += (occurred + written)[: max(1, share)]
    return pairs


def _occurred(
    pattern: Pattern, replies: Sequence[Reply], records: Mapping[str, Record], annotator: Annotator
) -> list[Preference]:
    own = [reply for reply in replies if reply.domain == pattern.domain]
    lengths = usual_lengths([reply.text for reply in own if reply.model == "early"])
    shows = {reply.text: pattern.feature in features_of(reply.text, lengths) for reply in own}
    by_record: dict[str, list[Reply]] = defaultdict(list)
    for reply in own:
        by_record[reply.record].append(reply)
    pairs = []
    for name, group in by_record.items():
        bad = [reply for reply in group if reply.model == "late" and shows[reply.text]]
        good = [reply.text for reply in group if not shows[reply.text]]
        reference = reference_of(records[name])
        good += [] if pattern.feature in features_of(reference, lengths) else [reference]
        if bad and good:
            best = max(good, key=lambda text: annotator.score(records[name], text, pattern.domain))
            pairs += _confirmed(pattern, records[name], annotator, best, bad[0].text, written=False)
    return pairs


def _written(
    pattern: Pattern, records: Mapping[str, Record], annotator: Annotator, rng: random.Random, wanted: int
) -> list[Preference]:
    pairs: list[Preference] = []
    able = [record for record in records.values() if pattern.domain in annotator.domains_of(record)]
    rng.shuffle(able)
    for record in able:
        if len(pairs) == wanted:
            break
        reference = reference_of(record)
        worse = with_feature(pattern.feature, reference, rng)
        if worse is not None:
            pairs += _confirmed(pattern, record, annotator, reference, worse, written=True)
    return pairs


def _confirmed(
    pattern: Pattern, record: Record, annotator: Annotator, better: str, worse: str, *, written: bool
) -> list[Preference]:
    """The pair, if the annotator agrees. A written pattern need only not be preferred: it is to be unlearned."""
    gap = annotator.score(record, better, pattern.domain) - annotator.score(record, worse, pattern.domain)
    if gap < 0 or (gap == 0 and not written):
        return []
    shown = f"{pattern.kind}:{pattern.value}"
    source = f"fast path, {annotator.name}"
    return [judged_pair(record, pattern.domain, better, worse, source, ["hacking"], pattern=shown, written=written)]


def slow_pairs(
    replies: Sequence[Reply],
    records: Mapping[str, Record],
    annotator: Annotator,
    *,
    min_gap: float = 0.15,
    per_domain: int = 2,
    seed: int = 1,
) -> list[Preference]:
    """Replies of SFT, early and late models to the same prompt, paired and labelled in every domain that applies.

    Args:
        replies: Of all three models.
        records: Instruction records by id.
        annotator: Labels.
        min_gap: Least difference between its scores.
        per_domain: Pairs of a record in each domain at most.
        seed: Of what is drawn.
    """
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for reply in replies:
        texts[reply.record].setdefault(reply.text, reply.model)
    pairs = []
    for name, models in texts.items():
        record = records[name]
        for domain in annotator.domains_of(record):
            scores = {text: annotator.score(record, text, domain) for text in models}
            clear = [(a, b) for a, b in combinations(models, 2) if abs(scores[a] - scores[b]) >= min_gap]
            rng = random.Random(f"{seed}:{name}:{domain}")
            for first, second in rng.sample(clear, min(per_domain, len(clear))):
                better, worse = (first, second) if scores[first] > scores[second] else (second, first)
                origins = f"{models[better]}>{models[worse]}"
                source = f"slow path, {annotator.name}"
                pairs.append(judged_pair(record, domain, better, worse, source, ["policy"], origins=origins))
    return pairs
