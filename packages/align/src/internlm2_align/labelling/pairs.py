"""From judged candidates to preference pairs.

A pair is made where the scores differ by ``min_gap`` or more and the better side may win. Of all pairs of a record and
domain a few are drawn, so that pairs of different origins get equal chances. First an origin pair is drawn, then one of
its pairs. Pairs that a model's own reply loses come before all others: they are rare, and they show the mistakes that
the reward model will have to judge in PPO. They are the slice ``own_mistake``.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from internlm2_align.labelling.annotator import Annotator, Record, question_of
from internlm2_align.labelling.candidates import SAMPLED, Candidate, Writer, at_hand
from internlm2_align.preferences.preference import Preference


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
    annotator: Annotator,
    rules: PairRules,
    sampled: Mapping[str, Sequence[str]] | None = None,
    candidates: Callable[[Sequence[Record], int], Writer] = at_hand,
    counts: Counter[str] | None = None,
) -> list[Preference]:
    """Judge the candidates of every record in every domain that applies, and pair them.

    Args:
        records: Instruction records.
        annotator: Judges.
        rules: How many pairs, and how clear.
        sampled: Replies of models by record id.
        candidates: Makes what gives the candidates, of all records and a seed.
        counts: Gets ``DOMAIN`` and ``origin/BETTER>WORSE`` for a pair, ``DOMAIN/no_gap`` for a record without one.
    """
    counts = Counter() if counts is None else counts
    write = candidates(records, rules.seed)
    pairs = []
    for record in records:
        found = write(record, (sampled or {}).get(record["id"], ()))
        for domain in annotator.domains_of(record):
            drawn = _draw(record, domain, found, annotator, rules)
            counts[domain if drawn else f"{domain}/no_gap"] += max(1, len(drawn))
            counts.update(f"origin/{pair.meta['origins']}" for pair in drawn)
            pairs += drawn
    return pairs


def _draw(
    record: Record, domain: str, candidates: Sequence[Candidate], annotator: Annotator, rules: PairRules
) -> list[Preference]:
    scores = [annotator.score(record, candidate.reply, domain) for candidate in candidates]
    by_origin: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for first, second in combinations(range(len(candidates)), 2):
        better, worse = (first, second) if scores[first] > scores[second] else (second, first)
        is_clear = scores[better] - scores[worse] >= rules.min_gap
        if is_clear and candidates[better].may_win and candidates[worse].reply.strip():
            by_origin[candidates[better].origin, candidates[worse].origin].append((better, worse))
    rng = random.Random(f"{rules.seed}:{record['id']}:{domain}")
    origins = sorted(by_origin)
    rng.shuffle(origins)
    origins.sort(key=lambda origin: origin[1] != SAMPLED)
    drawn = [rng.choice(by_origin[origin]) for origin in origins[: rules.per_domain]]
    pairs = []
    for better, worse in drawn:
        gap = scores[better] - scores[worse]
        sides = candidates[better], candidates[worse]
        slices = ["hard" if gap < rules.hard_gap else "easy", *annotator.slices_of(record)]
        slices += ["own_mistake"] if sides[1].origin == SAMPLED else []
        meta = {"origins": ">".join(side.origin for side in sides), "score_gap": round(gap, 3)}
        chosen, rejected = (side.reply for side in sides)
        pairs.append(judged_pair(record, domain, chosen, rejected, annotator.name, slices, **meta))
    return pairs


def judged_pair(
    record: Record, domain: str, chosen: str, rejected: str, source: str, slices: Sequence[str], **meta: Any
) -> Preference:
    """A pair of replies to a record.

    Args:
        record: The instruction record.
        domain: By which the replies were judged.
        chosen: The better reply.
        rejected: The other reply.
        source: Who judged, and where.
        slices: Groups that figures are given for.
        **meta: Of the pair, beside what the record says.
    """
    known = {
        "language": record["language"],
        "question": question_of(record),
        "task": record["task"],
        "slices": list(slices),
    }
    return Preference(domain, tuple(record["messages"][:-1]), chosen, rejected, source, known | meta)
