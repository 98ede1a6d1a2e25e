"""How far a queue is, how far its annotators agree, and how right they are where the answer is known.

    schema      "internlm2/align/people/1"
    domains     {DOMAIN: {"open", "decided", "disagreed", "alpha", "judged_twice"}}
    annotators  {NAME: {"judged", "skipped", "gold_right", "gold_judged", "left", "sided", "median_seconds"}}
    alpha       Krippendorff's, over all domains, with "judged_twice" comparisons that two or more people have judged
    kappa       [{"annotators": [NAME, NAME], "kappa", "both"}]: Cohen's, for each two who have judged the same
    left        of "sided" verdicts that prefer one side, those for the left one: half of them if sides do not matter

Only what counts is counted: what was taken back, gold questions in agreement, and resolutions are not.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from statistics import median
from typing import Any

from internlm2_align.people.agreement import cohen_kappa, krippendorff_alpha
from internlm2_align.people.queue import Queue
from internlm2_align.people.votes import Said

SCHEMA = "internlm2/align/people/1"

Verdicts = dict[str, dict[str, str]]
"""Comparison -> annotator -> verdict."""


def figures(queue: Queue) -> dict[str, Any]:
    """The figures of a queue, see this module."""
    known = queue.domains()
    gold = {id_: verdict for id_, (_, verdict) in known.items() if verdict is not None}
    said = [each for each in queue.judgements() if not each.undone and each.role == "label"]
    verdicts: Verdicts = defaultdict(dict)
    for each in said:
        judgement = each.judgement
        if judgement.verdict != "skip" and judgement.comparison not in gold:
            verdicts[judgement.comparison][judgement.annotator] = judgement.verdict
    domains = {
        domain: {"open": 0, "decided": 0, "disagreed": 0, **states}
        | _alpha([each for id_, each in verdicts.items() if known[id_][0] == domain])
        for domain, states in queue.states().items()
    }
    names = sorted({each.judgement.annotator for each in said})
    return {
        "schema": SCHEMA,
        "domains": domains,
        "annotators": {name: _annotator([s for s in said if s.judgement.annotator == name], gold) for name in names},
        **_alpha(list(verdicts.values())),
        "kappa": _kappas(verdicts, names),
        **_sides(said),
    }


def _alpha(verdicts: Sequence[dict[str, str]]) -> dict[str, Any]:
    several = [list(each.values()) for each in verdicts if len(each) > 1]
    return {"alpha": krippendorff_alpha(several), "judged_twice": len(several)}


def _kappas(verdicts: Verdicts, names: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for one, other in combinations(names, 2):
        both = [(each[one], each[other]) for each in verdicts.values() if one in each and other in each]
        if both:
            found.append({"annotators": [one, other], "kappa": cohen_kappa(both), "both": len(both)})
    return found


def _annotator(said: Sequence[Said], gold: dict[str, str]) -> dict[str, Any]:
    judged = [each for each in said if each.judgement.verdict != "skip"]
    checks = [each.judgement for each in judged if each.judgement.comparison in gold]
    seconds = [each.seconds for each in judged if each.seconds is not None]
    return {
        "judged": len(judged),
        "skipped": len(said) - len(judged),
        "gold_right": sum(check.verdict == gold[check.comparison] for check in checks),
        "gold_judged": len(checks),
        **_sides(said),
        "median_seconds": median(seconds) if seconds else None,
    }


def _sides(said: Sequence[Said]) -> dict[str, int]:
    sided = [each.left for each in said if each.left is not None]
    return {"left": sum(sided), "sided": len(sided)}
