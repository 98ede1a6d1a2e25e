"""Comparisons and judgements as tasks of Label Studio, out and in.

A task has ``data`` with ``prompt``, ``answer1`` and ``answer2``, as in Label Studio's template for human preferences,
and an annotation for each judgement, as in its JSON export (https://labelstud.io/guide/task_format,
https://labelstud.io/templates/generative-pairwise-human-preference). `LABELING` is the configuration of a project that
shows them: that template's Pairwise control, and what a pair cannot say. A project with the template alone will do.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from internlm2_records import Record, read_records

from internlm2_align.people.queue import Queue
from internlm2_align.people.rendered import turn_text
from internlm2_align.people.take import take
from internlm2_align.people.votes import Said
from internlm2_align.preferences.comparison import Comparison, Judgement, Verdict
from internlm2_align.preferences.preference import as_turn

LABELING = """<View>
  <Header value="$domain"/>
  <Text name="prompt" value="$prompt"/>
  <Pairwise name="comparison" toName="answer1,answer2"/>
  <View style="display: grid; grid-template-columns: 1fr 1fr; gap: 1em">
    <Text name="answer1" value="$answer1"/>
    <Text name="answer2" value="$answer2"/>
  </View>
  <Choices name="neither" toName="prompt"><Choice value="tie"/><Choice value="both_bad"/></Choices>
  <TextArea name="remark" toName="prompt"/>
</View>
"""

SIDES: Mapping[str, Verdict] = {"left": "first", "right": "second"}
"""Label Studio shows ``answer1`` on the left."""


def task_text(queue: Queue) -> str:
    """Every comparison of a queue as a task, with what counts of what was said, as JSON that Label Studio imports."""
    said: dict[str, list[Said]] = {}
    for each in queue.judgements():
        if not each.undone and each.role == "label":
            said.setdefault(each.judgement.comparison, []).append(each)
    tasks = [_task(comparison, said.get(id_, [])) for id_, comparison in queue.comparisons().items()]
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def import_label_studio(queue: Queue, path: str | Path) -> dict[str, int]:
    """Take the annotations of Label Studio's JSON export into a queue. A second time changes nothing.

    Tasks are those of `task_text`: their ``data.id`` names the comparison, and ``answer1`` and ``answer2`` must be its
    replies. Margins are not there.

    Args:
        queue: It knows the comparisons.
        path: The export ("JSON", not "JSON-MIN").

    Returns:
        Counts as for `import_judgements`, and ``empty``: annotations that say nothing.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a task does not fit, or its answers are not the comparison's. The message names it. Nothing is
            taken then.
    """
    known, found, empty = queue.comparisons(), [], 0
    for placed in read_records(path):
        for said in placed.parse(lambda task: list(_annotations(task, known))):
            empty += said is None
            found += [] if said is None else [said]
    return {**take(queue, found), "empty": empty}


def _task(comparison: Comparison, said: list[Said]) -> dict[str, Any]:
    first, second = (turn_text(as_turn(reply)) for reply in comparison.replies)
    data = {
        "id": comparison.id,
        "domain": comparison.domain,
        "prompt": "\n\n".join(f"{turn['role']}: {turn_text(turn)}" for turn in comparison.prompt),
        "answer1": first,
        "answer2": second,
    }
    return {"data": data, "annotations": [_annotation(each) for each in said]}


def _annotation(said: Said) -> dict[str, Any]:
    judgement, result = said.judgement, []
    if judgement.verdict in SIDES.values():
        side = "left" if judgement.verdict == "first" else "right"
        result.append(_result("comparison", "answer1,answer2", "pairwise", {"selected": side}))
    elif judgement.verdict != "skip":
        result.append(_result("neither", "prompt", "choices", {"choices": [judgement.verdict]}))
    if judgement.remark:
        result.append(_result("remark", "prompt", "textarea", {"text": [judgement.remark]}))
    return {
        "result": result,
        "was_cancelled": judgement.verdict == "skip",
        "annotator": judgement.annotator,
        # Label Studio refuses a name that is not an account's address, and takes the importer where there is none.
        **({"completed_by": {"email": judgement.annotator}} if "@" in judgement.annotator else {}),
        "created_at": judgement.time,
        "lead_time": said.seconds,
    }


def _result(from_name: str, to_name: str, type_: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": from_name, "to_name": to_name, "type": type_, "value": value}


def _annotations(task: Record, known: Mapping[str, Comparison]) -> Iterator[Said | None]:
    """What a task says: None for an annotation that says nothing."""
    data = task["data"]
    id_ = str(data["id"])
    if id_ in known:
        answers = tuple(turn_text(as_turn(reply)) for reply in known[id_].replies)
        if (data.get("answer1"), data.get("answer2")) != answers:
            raise ValueError(f"answer1 and answer2 of {id_!r} are not the replies of that comparison.")
    for annotation in task.get("annotations") or ():
        verdict = _verdict(annotation)
        if verdict is None:
            yield None
            continue
        time = datetime.fromisoformat(annotation["created_at"]).astimezone(UTC).isoformat()
        remark = "\n".join(_values(annotation, "textarea", "text"))
        judgement = Judgement(id_, verdict, _annotator(annotation), time, remark=remark)
        yield Said(judgement, first_is_left=True, seconds=annotation.get("lead_time"))


def _verdict(annotation: Mapping[str, Any]) -> Verdict | None:
    if annotation.get("was_cancelled"):
        return "skip"
    for result in annotation["result"]:
        if result["type"] == "pairwise":
            return SIDES[result["value"]["selected"]]
    for choice in _values(annotation, "choices", "choices"):
        if choice in ("tie", "both_bad"):
            return choice  # type: ignore[return-value]
    return None


def _values(annotation: Mapping[str, Any], type_: str, key: str) -> list[str]:
    return [text for result in annotation["result"] if result["type"] == type_ for text in result["value"][key]]


def _annotator(annotation: Mapping[str, Any]) -> str:
    """Who: by our own name, or as Label Studio says it, a number or an object with an address."""
    person = annotation.get("annotator") or annotation["completed_by"]
    return str((person.get("email") or person["id"]) if isinstance(person, Mapping) else person)
