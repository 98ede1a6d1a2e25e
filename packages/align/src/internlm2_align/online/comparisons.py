"""What a round asks: whether a pattern makes replies worse (fast path), and whose reply is better (slow path)."""

import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice
from typing import Any, NamedTuple

from internlm2_align.labelling.annotator import Annotator
from internlm2_align.labelling.instructions import ScoringAnnotator
from internlm2_align.labelling.pairs import comparison_of_record, shuffled
from internlm2_align.labelling.sources import meta_of
from internlm2_align.online.features import WORDS, Shown, features_of, usual_lengths
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
    """Pairs of which one reply shows a pattern and the other none that was named in its domain.

    First those that occurred: a reply with the pattern against the best clean reply to the same prompt, so chosen that
    all forms of the pattern are shown. A late policy has settled on few of them, and would find the others once these
    are not paid any more. Where they are fewer than ``least``, the pattern is written into clean replies
    (``meta["written"]``), if a rule can.

    Args:
        patterns: Of `Audit.patterns` or `Audit.suspects`.
        replies: That the patterns were found in.
        prompts: By name.
        annotator: Who is to judge them.
        least: Pairs wanted of each pattern (report 4.2.2).
        most: Pairs taken of each pattern.
        seed: Of what is drawn.

    Returns:
        Comparisons, none without patterns. ``meta`` names the ``pattern`` and the ``clean`` one of the two replies.
    """
    rng = random.Random(seed)
    by_domain: dict[str, list[Pattern]] = defaultdict(list)
    for pattern in patterns:
        by_domain[pattern.domain].append(pattern)
    pairs: list[Comparison] = []
    asked: set[_Sides] = set()
    for domain, named in by_domain.items():
        own = [reply for reply in replies if reply.domain == domain]
        lengths = usual_lengths([reply.text for reply in own if reply.model == "early"])
        shown = {reply.text: features_of(reply.text, lengths) for reply in own}
        # A reply that shows another named pattern would teach that one.
        clean = [reply for reply in own if reply.text.strip() and not _any(named, shown[reply.text])]
        for pattern in named:
            marked = [reply for reply in own if pattern.feature in shown[reply.text]]
            found = [side for side in _occurred(marked, clean, annotator, rng) if side not in asked]
            found += islice(_written(pattern, clean, rng), max(0, least - len(found)))
            asked.update(found[:most])
            for side in found[:most]:
                meta = {"slices": ["hacking"], "pattern": pattern.name, "written": side.written}
                made = compared(prompts[side.record], domain, (side.clean, side.marked), annotator, rng, **meta)
                place = made.replies.index(side.clean)
                models = {} if side.written else {"models": list(side.models if place == 0 else side.models[::-1])}
                pairs.append(replace(made, meta=made.meta | models | {"clean": place}))
    return distinct(pairs)


def _any(patterns: Sequence[Pattern], shown: Shown) -> bool:
    return any(pattern.feature in shown for pattern in patterns)


class _Sides(NamedTuple):
    record: str
    clean: str
    marked: str
    models: tuple[str, str] = ("", "")
    written: bool = True


def _occurred(
    marked: Sequence[Reply], clean: Sequence[Reply], annotator: Annotator, rng: random.Random
) -> list[_Sides]:
    """Of each prompt the best clean reply and one of the best marked ones that are worse, so little else differs."""
    without, having = _by_prompt(clean), _by_prompt(marked)
    scores, said, found = isinstance(annotator, ScoringAnnotator), Counter[str](), []
    for name in rng.sample(list(having), len(having)):
        # Where nobody has scored them, one of the same policy: what differs is the pattern and not the policy.
        best = max(
            without.get(name, ()), key=lambda reply: (reply.judged, reply.model == "late", reply.reward), default=None
        )
        worse = [reply for reply in having[name] if best and (not scores or reply.judged < best.judged)]
        if best and worse:
            top = max(reply.judged for reply in worse)
            near = _least_said([reply for reply in worse if reply.judged == top], said)
            found.append(_Sides(name, best.text, near.text, (best.model, near.model), written=False))
    return found


def _least_said(replies: Sequence[Reply], said: Counter[str]) -> Reply:
    """The reply that was said least often in the pairs before it, itself and its words. They are counted."""

    def parts(reply: Reply) -> set[str]:
        return {reply.text, *WORDS.findall(reply.text)}

    chosen = max(replies, key=lambda reply: statistics.mean(1 / (1 + said[part]) for part in parts(reply)))
    said.update(parts(chosen))
    return chosen


def _by_prompt(replies: Iterable[Reply]) -> dict[str, list[Reply]]:
    found: dict[str, list[Reply]] = defaultdict(list)
    for reply in replies:
        found[reply.record].append(reply)
    return found


def _written(pattern: Pattern, clean: Sequence[Reply], rng: random.Random) -> Iterator[_Sides]:
    """Clean replies, the best judged ones first, and the same with the pattern written in, if a rule can write it."""
    order = list({(reply.record, reply.text): reply for reply in clean}.values())
    rng.shuffle(order)
    for reply in sorted(order, key=lambda reply: -reply.judged):
        marked = with_feature(pattern.feature, reply.text, rng)
        if marked is not None and marked.strip() != reply.text.strip():
            yield _Sides(reply.record, reply.text, marked)


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
