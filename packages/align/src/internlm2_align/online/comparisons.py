"""What a round asks: whether a pattern makes replies worse (fast path), and whose reply is better (slow path)."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice
from typing import Any, NamedTuple

from internlm2_align.labelling.annotator import Annotator
from internlm2_align.labelling.instructions import ScoringAnnotator
from internlm2_align.labelling.pairs import comparison_of_record, shuffled
from internlm2_align.labelling.sources import meta_of
from internlm2_align.online.features import features_of, usual_lengths
from internlm2_align.online.hacking import Pattern
from internlm2_align.online.planting import with_feature
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
    Where these are fewer than ``least``, the pattern is written into replies (``meta["written"]``), if a rule can.

    Args:
        patterns: Of `Audit.patterns` or `Audit.suspects`.
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
        lengths = usual_lengths([reply.text for reply in own if reply.model == "early"])
        shows = {reply.text: pattern.feature in features_of(reply.text, lengths) for reply in own}
        occurred = _occurred(own, shows, prompts, rng)
        wanted = max(0, -(-least // len(patterns)) - len(occurred))
        found = [*occurred, *islice(_written(pattern, own, shows, prompts, rng), wanted)]
        for side in found[: max(1, most // len(patterns))]:
            meta = {"slices": ["hacking"], "pattern": pattern.name, "written": side.written}
            made = compared(side.prompt, pattern.domain, (side.clean, side.marked), annotator, rng, **meta)
            clean = made.replies.index(side.clean)
            models = {} if side.written else {"models": list(side.models if clean == 0 else side.models[::-1])}
            pairs.append(replace(made, meta=made.meta | models | {"clean": clean}))
    return distinct(pairs)


class _Sides(NamedTuple):
    prompt: Prompt
    clean: str
    marked: str
    models: tuple[str, str] = ("", "")
    written: bool = True


def _occurred(
    replies: Sequence[Reply], shows: Mapping[str, bool], prompts: Mapping[str, Prompt], rng: random.Random
) -> list[_Sides]:
    by_prompt: dict[str, list[Reply]] = defaultdict(list)
    for reply in replies:
        by_prompt[reply.record].append(reply)
    found = []
    for name, group in by_prompt.items():
        marked = [reply for reply in group if reply.model == "late" and shows[reply.text]]
        clean = [reply for reply in group if not shows[reply.text] and reply.text.strip()]
        if marked and clean:
            # Where nobody has scored them, one of the same policy: what differs is the pattern and not the policy.
            best = max(clean, key=lambda reply: (reply.judged, reply.model == "late", reply.reward))
            found.append(_Sides(prompts[name], best.text, marked[0].text, (best.model, "late"), written=False))
    rng.shuffle(found)
    return found


def _written(
    pattern: Pattern,
    replies: Sequence[Reply],
    shows: Mapping[str, bool],
    prompts: Mapping[str, Prompt],
    rng: random.Random,
) -> Iterator[_Sides]:
    """Replies, the best judged ones first, and the same with the pattern written into them, if a rule can write it."""
    clean = {(reply.record, reply.text): reply for reply in replies if not shows[reply.text] and reply.text.strip()}
    order = list(clean.values())
    rng.shuffle(order)
    for reply in sorted(order, key=lambda reply: -reply.judged):
        marked = with_feature(pattern.feature, reply.text, rng)
        if marked is not None and marked.strip() != reply.text.strip():
            yield _Sides(prompts[reply.record], reply.text, marked)


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
