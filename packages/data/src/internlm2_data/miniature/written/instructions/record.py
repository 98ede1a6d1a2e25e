"""From instances to instruction records.

A record: `id`, `task`, `language`, `messages` (user, assistant), `answer` (bare, or the secret of a private question),
and `check`, the rule by which replies are judged:

    {"kind": "number", "value": 12}                     the last number of the reply is 12
    {"kind": "exact", "accept": ["12", "The answer is 12.", ...]}
    {"kind": "refusal", "accept": ["cannot tell"], "reject": ["48"]}    one of the first occurs, none of the second
"""

from random import Random
from typing import Any

from internlm2_data.miniature.written.instructions.instance import Instance
from internlm2_data.miniature.written.instructions.wording import ACCEPTED, BARE, REFUSAL, REFUSAL_MARKS, SENTENCE

Record = dict[str, Any]


def record_of(instance: Instance, task: str, name: str, rng: Random) -> Record:
    """The record of an instance.

    Args:
        instance: What is asked.
        task: Its task.
        name: The record's id.
        rng: Chooses the style of the reply, bare or a full sentence; `check` accepts both.
    """
    return {
        "id": name,
        "task": task,
        "language": instance.language,
        "messages": [
            {"role": "user", "content": instance.question},
            {"role": "assistant", "content": _reply_to(instance, rng)},
        ],
        "answer": instance.answer,
        "check": check_of(instance),
    }


def _reply_to(instance: Instance, rng: Random) -> str:
    """The reference reply."""
    if instance.kind == "refusal":
        return REFUSAL[instance.language]
    return rng.choice((BARE, SENTENCE[instance.language])).format(instance.answer)


def check_of(instance: Instance) -> Record:
    """The rule by which replies are judged."""
    if instance.kind == "number":
        return {"kind": "number", "value": int(instance.answer)}
    if instance.kind == "refusal":
        return {"kind": "refusal", "accept": REFUSAL_MARKS[instance.language], "reject": [instance.answer]}
    return {"kind": "exact", "accept": [wording.format(instance.answer) for wording in ACCEPTED[instance.language]]}
