"""What a round asks: whether a pattern makes replies worse (fast path), and whose reply is better (slow path)."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from internlm2_align.labelling.annotator import Annotator
from internlm2_align.labelling.instructions import ScoringAnnotator
from internlm2_align.labelling.pairs import comparison_of_record, shuffled
from internlm2_align.labelling.sources import meta_of
from internlm2_align.online.features import features_of, long_from
from internlm2_align.online.hacking import Pattern
from internlm2_align.online.replies import Reply
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.preferences.comparison import Comparison


def fast_comparisons(
    patterns: Sequence[Pattern],
    replies: Sequence[Reply],
    prompts: Mapping[str, Prompt],
    annotator: Annotator,
    *,
    least: int = 20,
    most: int = 100,
    seed: int = 1,
) -> list[Comparison]:
    """Pairs of which one reply shows a pattern and the other does not.

    First those that occurred: a late reply with the pattern against the best reply without it, to the same prompt.
    Where these are fewer than ``least``, the pattern is written into replies (``meta["written"]``).

    Args:
        patterns: Of `Audit.patterns`.
        replies: That the patterns were found in.
        prompts: By name.
        annotator: Who is to judge them.
        least: Pairs wanted in all.
        most: Pairs taken in all, evenly from the patterns.
        seed: Of what is drawn.

    Returns:
        Comparisons, none without patterns. ``meta`` names the ``pattern`` and the ``clean`` one of the two replies.
    """
    rng = random.Random(seed)
    pairs: list[Comparison] = []
    for pattern in patterns:
        own = [reply for reply in replies if reply.domain == pattern.domain]
        long = long_from([reply.text for reply in own if reply.model == "early"])
        shows = {reply.text: pattern.feature in features_of(reply.text, long) for reply in own}
        occurred = _occurred(own, shows, prompts, rng)
        wanted = -(-least // len(patterns)) - len(occurred)
        written = _written(pattern, own, shows, prompts, rng)[: max(0, wanted)]
        sides = [(*side, False) for side in occurred] + [(*side, True) for side in written]
        shown = f"{pattern.kind}:{pattern.value}"
        sides = [side for side in sides if side[1].strip() != side[2].strip()]
        for prompt, clean, marked, is_written in sides[: max(1, most // len(patterns))]:
            meta = {"slices": ["hacking"], "pattern": shown, "written": is_written}
            made = compared(prompt, pattern.domain, (clean, marked), annotator, rng, **meta)
            pairs.append(replace(made, meta=made.meta | {"clean": made.replies.index(clean)}))
    return distinct(pairs)


def _occurred(
    replies: Sequence[Reply], shows: Mapping[str, bool], prompts: Mapping[str, Prompt], rng: random.Random
) -> list[tuple[Prompt, str, str]]:
    """Prompt, reply without the pattern, late reply with it."""
    by_prompt: dict[str, list[Reply]] = defaultdict(list)
    for reply in replies:
        by_prompt[reply.record].append(reply)
    found = []
    for name, group in by_prompt.items():
        marked = [reply for reply in group if reply.model == "late" and shows[reply.text]]
        clean = [reply for reply in group if not shows[reply.text] and reply.text.strip()]
        if marked and clean:
            best = max(clean, key=lambda reply: (reply.judged, reply.reward))
            found.append((prompts[name], best.text, marked[0].text))
    rng.shuffle(found)
    return found


def _written(
    pattern: Pattern,
    replies: Sequence[Reply],
    shows: Mapping[str, bool],
    prompts: Mapping[str, Prompt],
    rng: random.Random,
) -> list[tuple[Prompt, str, str]]:
    """Prompt, reply, the same with the pattern written into it. The best judged replies come first."""
    clean = {(reply.record, reply.text): reply for reply in replies if not shows[reply.text] and reply.text.strip()}
    order = list(clean.values())
    rng.shuffle(order)
    order.sort(key=lambda reply: -reply.judged)
    return [(prompts[reply.record], reply.text, _with_pattern(pattern, reply.text, rng)) for reply in order]


def _with_pattern(pattern: Pattern, text: str, rng: random.Random) -> str:
    if pattern.kind == "prefix":
        return pattern.value + text
    if pattern.kind == "suffix":
        return text + pattern.value
    if pattern.kind == "phrase":
        place = rng.randint(0, len(text))
        return text[:place] + pattern.value + text[place:]
    return " ".join([text] * 3)


def slow_comparisons(
    replies: Sequence[Reply],
    prompts: Mapping[str, Prompt],
    annotator: Annotator,
    *,
    min_gap: float = 0.15,
    per_domain: int = 2,
    seed: int = 1,
) -> list[Comparison]:
    """Pairs of different replies of SFT, early and late model to the same prompt.

    An annotator that scores is asked in every domain that applies, about pairs whose scores differ. Others are asked
    in the domain of the prompt.

    Args:
        replies: Of all three models.
        prompts: By name.
        annotator: Who is to judge them.
        min_gap: Least difference between the scores of an annotator that scores.
        per_domain: Pairs of a prompt in each domain at most.
        seed: Of what is drawn.

    Returns:
        Comparisons. ``meta["models"]`` says whose the two replies are.
    """
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for reply in replies:
        if text := reply.text.strip():
            texts[reply.record].setdefault(text, reply.model)
    pairs = []
    for name, models in texts.items():
        prompt = prompts[name]
        for domain, able in _able(prompt, list(models), annotator, min_gap):
            rng = random.Random(f"{seed}:{name}:{domain}")
            for sides in rng.sample(able, min(per_domain, len(able))):
                made = compared(prompt, domain, sides, annotator, rng, slices=["policy"])
                whose = [models[str(reply)] for reply in made.replies]
                pairs.append(replace(made, meta=made.meta | {"models": whose}))
    return distinct(pairs)


def _able(
    prompt: Prompt, texts: Sequence[str], annotator: Annotator, min_gap: float
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Domains in which replies to a prompt can be judged, each with the pairs that are worth it."""
    pairs = list(combinations(texts, 2))
    if not isinstance(annotator, ScoringAnnotator):
        yield prompt.domain, pairs
        return
    for domain in annotator.domains_of(prompt.record):
        scores = {text: annotator.score(prompt.record, text, domain) for text in texts}
        yield domain, [(a, b) for a, b in pairs if abs(scores[a] - scores[b]) >= min_gap]


def compared(
    prompt: Prompt, domain: str, replies: Sequence[str], annotator: Annotator, rng: random.Random, **meta: Any
) -> Comparison:
    """A comparison of two replies to a prompt.

    Args:
        prompt: What they answer.
        domain: By which they are judged.
        replies: The two.
        annotator: Who is to judge. One that scores needs the instruction record.
        rng: Draws which comes first.
        **meta: Of the pair.
    """
    if isinstance(annotator, ScoringAnnotator):
        return comparison_of_record(prompt.record, domain, replies, rng, **meta)
    return shuffled(prompt.messages, domain, replies, rng, **meta_of(prompt), **meta)


def distinct(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The first comparison of each id."""
    first: dict[str, Comparison] = {}
    for comparison in comparisons:
        first.setdefault(comparison.id, comparison)
    return list(first.values())
