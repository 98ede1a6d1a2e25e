"""Scores of a reply against its reference, by the published rules of T-Eval's second version.

No model judges. Where the published scorer compares two texts by the cosine of their embeddings (thoughts, and the
steps of plans), a function does. `overlap` needs no embedding model. Its figures do not compare with published ones.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import networkx

from internlm2_core.evaluation.tools.reading import (
    FINISH,
    read_call,
    read_json,
    read_next,
    read_plan,
    read_steps,
    read_templated,
)
from internlm2_core.evaluation.tools.transcripts import Place

Similarity = Callable[[str, str], float]
"""How alike two texts are, from 0 to 1."""
NAME_WEIGHT, ARGS_WEIGHT, ALIKE = 0.75, 0.25, 0.8
"""A step of a plan is another one if the weighted similarity of names and arguments is above the third."""
_WORD = re.compile(r"[^\W\u3400-\u9fff]+|[\u3400-\u9fff]")


def overlap(one: str, other: str) -> float:
    """F1 of the words, and the Chinese characters, that two texts share.

    Args:
        one: A text.
        other: Another one.
    """
    left, right = (Counter(_WORD.findall(text.lower())) for text in (one, other))
    if not left and not right:
        return float(one.strip() == other.strip())
    return 2 * (left & right).total() / (left.total() + right.total())


def score(place: Place, ability: str, reply: str, similarity: Similarity = overlap) -> dict[str, float]:
    """What a reply is worth.

    Args:
        place: With the reference.
        ability: One of those of the place.
        reply: What the model said.
        similarity: Compares texts.

    Returns:
        ``score`` and ``parsed``, both from 0 to 1.
    """
    rule: Callable[..., float | None] = _RULES[ability]
    found = rule(place, reply, similarity)
    return {"score": found or 0.0, "parsed": float(found is not None)}


def _instruct(place: Place, reply: str, similarity: Similarity) -> float | None:
    """Half for the form, half for the share of name and arguments that are the reference's."""
    read = read_call if place.format == "json" else read_templated
    call = read(reply, place.template)
    if call is None:
        return None
    wanted = place.reference["args"]
    right = (call["name"] == place.reference["name"]) + sum(
        call["args"].get(key, "") == value for key, value in wanted.items()
    )
    return (1 + right / (len(wanted) + 1)) / 2


def _plan(place: Place, reply: str, similarity: Similarity) -> float | None:
    plan = read_plan(reply) if place.format == "json" else read_steps(reply, place.names)
    wanted = [(step["name"], str(step["args"])) for step in place.reference["plan"]]
    return plan_f1(plan, wanted, similarity) if plan else None


def _reason(place: Place, reply: str, similarity: Similarity) -> float | None:
    call = read_next(reply) if place.format == "json" else {"thought": reply}
    return None if call is None else max(0.0, similarity(call["thought"], place.reference["thought"]))


def _retrieve(place: Place, reply: str, similarity: Similarity) -> float | None:
    wanted = place.reference["name"]
    if place.format == "json":
        call = read_next(reply)
        return None if call is None else float(call["name"] == wanted)
    said = re.findall(r"\w+\.\w+", reply) + re.findall(FINISH, reply)
    return float(wanted in reply and all(name == wanted for name in said))


def _understand(place: Place, reply: str, similarity: Similarity) -> float | None:
    wanted = place.reference["args"]
    if place.format == "text":
        return float(reply.strip("'").strip('"') == str(wanted))
    call = read_next(reply)
    if call is None:
        return None
    if not wanted:
        return float(not call["args"])
    right = sum(key in call["args"] and str(call["args"][key]) == str(value) for key, value in wanted.items())
    return right / len(wanted)


def _review(place: Place, reply: str, similarity: Similarity) -> float | None:
    if place.format == "json":
        found: Any = read_json(reply)
        said = found.get("is_finished") if isinstance(found, Mapping) else None
        return float(said == place.reference["review"]) if isinstance(said, int) and said in (0, 1) else None
    letter = reply[reply.find(":") + 1 :].strip()[:1]
    return float(letter == place.reference["review"]) if letter in tuple("ABCDE") else None


_RULES = {
    "instruct": _instruct, "plan": _plan, "reason": _reason, "retrieve": _retrieve, "understand": _understand,
    "review": _review,
}  # fmt: skip


def plan_f1(plan: Sequence[tuple[str, str]], wanted: Sequence[tuple[str, str]], similarity: Similarity) -> float:
    """F1 of the steps of a plan that are the reference's, in the reference's order.

    Steps are matched one to one, with the largest sum of similarities. Then the longest run counts whose matches are in
    order. As in the published scorer, one step of a plan always counts, even where none matches.

    Args:
        plan: Name and arguments of each step.
        wanted: Those of the reference.
        similarity: Compares names, and arguments.
    """
    plan, wanted = ([*steps[:-1]] if steps and steps[-1][0] == FINISH else [*steps] for steps in (plan, wanted))
    if not plan or not wanted:
        return 0.0
    graph = networkx.Graph()
    for i, (name, args) in enumerate(plan):
        for j, (wanted_name, wanted_args) in enumerate(wanted):
            weight = NAME_WEIGHT * similarity(name, wanted_name) + ARGS_WEIGHT * similarity(args, wanted_args)
            if weight > ALIKE:
                graph.add_edge(("plan", i), ("wanted", j), weight=weight)
    pairs = (dict(pair) for pair in networkx.max_weight_matching(graph))
    matched = dict(sorted((pair["plan"], pair["wanted"]) for pair in pairs))
    in_order = longest_rising(list(matched.values())) or 1
    precision, recall = in_order / len(plan), in_order / len(wanted)
    return 2 * precision * recall / (precision + recall)


def longest_rising(numbers: Sequence[int]) -> int:
    """Length of the longest rising subsequence."""
    ends: list[int] = []
    for number in numbers:
        place = sum(end < number for end in ends)
        ends[place : place + 1] = [number]
    return len(ends)
