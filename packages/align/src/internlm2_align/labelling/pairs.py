"""From judged candidates to preference pairs.

A pair is made where the scores differ by ``min_gap`` or more and the better side is a reply that somebody might give
on purpose: which of two damaged replies is worse teaches nothing. Of all pairs of a record and domain a few are drawn,
so that pairs of different origins get equal chances: first an origin pair, then one of its pairs.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from internlm2_align.labelling.annotator import Record, SimulatedAnnotator, secrets_of
from internlm2_align.labelling.candidates import Candidate, Candidates
from internlm2_align.preferences.preference import Preference

ON_PURPOSE = ("reference", "bare", "sentence", "told", "sampled")
"""Origins that the better side of a pair may have; declining an ordinary question is none of them."""


@dataclass(frozen=True)
class PairRules:
    """How many pairs, and how clear.

    Attributes:
        min_gap: Least difference between the annotator's scores.
        per_domain: Pairs of a record in each domain at most.
        hard_gap: Pairs closer than this are marked ``hard`` in their slices, others ``easy``.
        seed: Of what is drawn.
    """

    min_gap: float = 0.15
    per_domain: int = 2
    hard_gap: float = 0.5
    seed: int = 1


def label(
    records: Sequence[Record],
    annotator: SimulatedAnnotator,
    rules: PairRules,
    sampled: Mapping[str, Sequence[str]] | None = None,
    counts: Counter[str] | None = None,
) -> list[Preference]:
    """Judge the candidates of every record in every domain that applies, and pair them.

    Args:
        records: Instruction records.
        annotator: Judges.
        rules: How many pairs, and how clear.
        sampled: Replies of models by record id.
        counts: Gets ``DOMAIN`` and ``origin/BETTER>WORSE`` for a pair, ``DOMAIN/no_gap`` for a record without one.
    """
    counts = Counter() if counts is None else counts
    write = Candidates(records, rules.seed)
    pairs = []
    for record in records:
        candidates = write.of(record, (sampled or {}).get(record["id"], ()))
        for domain in annotator.domains_of(record):
            drawn = _draw(record, domain, candidates, annotator, rules)
            counts[domain if drawn else f"{domain}/no_gap"] += max(1, len(drawn))
            counts.update(f"origin/{pair.meta['origins']}" for pair in drawn)
            pairs += drawn
    return pairs


def _draw(
    record: Record, domain: str, candidates: Sequence[Candidate], annotator: SimulatedAnnotator, rules: PairRules
) -> list[Preference]:
    scores = [annotator.score(record, candidate.reply, domain) for candidate in candidates]
    by_origin: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for first, second in combinations(range(len(candidates)), 2):
        better, worse = (first, second) if scores[first] > scores[second] else (second, first)
        is_clear = scores[better] - scores[worse] >= rules.min_gap
        if is_clear and candidates[better].origin in ON_PURPOSE and candidates[worse].reply.strip():
            by_origin[candidates[better].origin, candidates[worse].origin].append((better, worse))
    rng = random.Random(f"{rules.seed}:{record['id']}:{domain}")
    origins = sorted(by_origin)
    rng.shuffle(origins)
    drawn = [rng.choice(by_origin[origin]) for origin in origins[: rules.per_domain]]
    return [_pair(record, domain, candidates, scores, better, worse, rules) for better, worse in drawn]


def _pair(
    record: Record,
    domain: str,
    candidates: Sequence[Candidate],
    scores: Sequence[float],
    better: int,
    worse: int,
    rules: PairRules,
) -> Preference:
    gap = scores[better] - scores[worse]
    slices = ["hard" if gap < rules.hard_gap else "easy"]
    if secrets_of(record):
        slices.append("conflicting")
    meta = {
        "language": record["language"],
        "question": record["messages"][-2]["content"],
        "task": record["task"],
        "slices": slices,
        "origins": f"{candidates[better].origin}>{candidates[worse].origin}",
        "score_gap": round(gap, 3),
    }
    prompt = tuple(record["messages"][:-1])
    chosen, rejected = candidates[better].reply, candidates[worse].reply
    return Preference(domain, prompt, chosen, rejected, "simulated annotator", meta)
