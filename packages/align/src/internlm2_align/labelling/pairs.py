"""From the replies to a prompt to comparisons: which two are worth judging.

An annotator that scores replies is shown pairs whose scores differ clearly and whose better side may win, so that pairs
of different origins get equal chances: first an origin pair is drawn, then one of its pairs. Where a model's own reply
loses, one such pair comes first: they are rare, and they show what the reward model will have to judge in PPO. They are
the slice ``own_reply``, the others ``written``. All other annotators get pairs drawn at random.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from internlm2_records import Message

from internlm2_align.labelling.candidates import SAMPLED, Candidate, Writer, at_hand
from internlm2_align.labelling.instructions import Record, ScoringAnnotator, question_of
from internlm2_align.preferences.comparison import Comparison, content_of


@dataclass(frozen=True)
class PairRules:
    """How many pairs, and how clear.

    Attributes:
        min_gap: Least difference between the scores of an annotator that scores.
        per_domain: Pairs of a prompt in each domain at most.
        hard_gap: Pairs closer than this are marked ``hard`` in their slices, others ``easy``.
        seed: Of what is drawn.
    """

    min_gap: float = 0.15
    per_domain: int = 2
    hard_gap: float = 0.5
    seed: int = 1


def scored_pairs(
    records: Sequence[Record],
    annotator: ScoringAnnotator,
    rules: PairRules,
    sampled: Mapping[str, Sequence[str]] | None = None,
    candidates: Callable[[Sequence[Record], int], Writer] = at_hand,
    counts: Counter[str] | None = None,
) -> list[Comparison]:
    """Clear pairs of the candidates of every record, in every domain that applies.

    Args:
        records: Instruction records.
        annotator: Scores candidates.
        rules: How many pairs, and how clear.
        sampled: Replies of models by record id.
        candidates: Makes what gives the candidates, of all records and a seed.
        counts: Gets ``DOMAIN`` and ``origin/BETTER>WORSE`` for a pair, ``DOMAIN/no_gap`` for a record without one.
    """
    counts = Counter() if counts is None else counts
    write = candidates(records, rules.seed)
    pairs: list[Comparison] = []
    for record in records:
        found = write(record, (sampled or {}).get(record["id"], ()))
        for domain in annotator.domains_of(record):
            drawn = _clear(record, domain, found, annotator, rules)
            counts[domain if drawn else f"{domain}/no_gap"] += max(1, len(drawn))
            counts.update(f"origin/{pair.meta['origins']}" for pair in drawn)
            pairs += drawn
    return pairs


def _clear(
    record: Record, domain: str, candidates: Sequence[Candidate], annotator: ScoringAnnotator, rules: PairRules
) -> list[Comparison]:
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
    own = [origin for origin in origins if origin[1] == SAMPLED][:1]
    origins = own + [origin for origin in origins if origin not in own]
    pairs = []
    for better, worse in [rng.choice(by_origin[origin]) for origin in origins[: rules.per_domain]]:
        gap = scores[better] - scores[worse]
        sides = candidates[better], candidates[worse]
        slices = ["hard" if gap < rules.hard_gap else "easy", *annotator.slices_of(record)]
        slices.append("own_reply" if sides[1].origin == SAMPLED else "written")
        meta = {"origins": ">".join(side.origin for side in sides), "slices": slices}
        pairs.append(comparison_of_record(record, domain, [side.reply for side in sides], rng, **meta))
    return pairs


def comparison_of_record(
    record: Record, domain: str, replies: Sequence[str], rng: random.Random, **meta: Any
) -> Comparison:
    """Two replies to an instruction record.

    Args:
        record: The record.
        domain: By which the replies are judged.
        replies: The two.
        rng: Draws which of them comes first.
        **meta: Of the pair, beside what the record says.
    """
    known = {"language": record["language"], "question": question_of(record), "task": record["task"]}
    return shuffled(record["messages"][:-1], domain, replies, rng, **known, **meta, record=dict(record))


def shuffled(
    prompt: Sequence[Message], domain: str, replies: Sequence[str], rng: random.Random, **meta: Any
) -> Comparison:
    """A comparison of two replies in random order, named by what it asks.

    Args:
        prompt: The conversation before the reply.
        domain: By which the replies are judged.
        replies: The two.
        rng: Draws which of them comes first.
        **meta: Of the pair.
    """
    first, second = rng.sample(list(replies), 2)
    return Comparison(content_of(domain, prompt, (first, second)), domain, tuple(prompt), (first, second), dict(meta))


def random_pairs(
    prompt: Sequence[Message], domain: str, replies: Sequence[str], most: int, rng: random.Random, **meta: Any
) -> list[Comparison]:
    """Pairs of different replies to a prompt.

    Args:
        prompt: The conversation before the reply.
        domain: By which the replies are judged.
        replies: Of any origin. Empty ones, and repeated ones but for the first, are left out.
        most: Pairs wanted.
        rng: Draws them.
        **meta: Of each pair.
    """
    texts: dict[str, str] = {}
    for reply in replies:
        if reply.strip():
            texts.setdefault(reply.strip(), reply)
    pairs = list(combinations(texts.values(), 2))
    return [shuffled(prompt, domain, pair, rng, **meta) for pair in rng.sample(pairs, min(most, len(pairs)))]
