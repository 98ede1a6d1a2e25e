"""Scores of invented transcripts, by rules worked out by hand.

The rules were compared outside of this repository with the published scorers (github.com/open-compass/T-Eval, its
embedding model replaced by `overlap` on both sides): 48,000 made-up replies in both formats get equal scores.
"""

import json
from pathlib import Path

import pytest
from internlm2_core.evaluation.tools import Transcripts
from internlm2_core.evaluation.tools.reading import read_json, read_steps
from internlm2_core.evaluation.tools.scoring import longest_rising, overlap, plan_f1, score
from internlm2_core.evaluation.tools.transcripts import place_of

from .test_instructions import write

CALL = {"thought": "I need the weather.", "name": "Weather.today", "args": {"city": "Paris", "days": 2}}
天气 = {"thought": "我需要天气", "name": "天气.查询", "args": {"城市": "北京"}}
PLAN = [
    {"id": 0, "name": "Map.find", "args": {"place": "station"}},
    {"id": 1, "name": "Map.route", "args": {"to": "station"}},
    {"id": 2, "name": "Mail.send", "args": {"to": "Ann"}},
]


def place(ability: str, reference: dict, form: str = "json", **more: object) -> dict:
    messages = [{"role": "user", "content": "What next?"}]
    about = {"id": ability, "language": "en", "abilities": [ability], "format": form}
    return {**about, "messages": messages, "reference": reference, **more}


def scored(record: dict, reply: str) -> tuple[float, float]:
    found = score(place_of(record), record["abilities"][0], reply)
    return round(found["score"], 4), found["parsed"]


TEXT = "Thought: {thought}\nAction: {name}\nInput: {args}"
STEPS = ["Map.find", "Map.route", "Mail.send"]


@pytest.mark.parametrize(
    ("record", "reply", "expected"),
    [
        # Half for the form, half for three of name, city and days.
        (place("instruct", CALL), json.dumps(CALL), (1, 1)),
        (place("instruct", CALL), json.dumps({**CALL, "args": {"city": "Rome", "days": 2}}), (0.8333, 1)),
        (place("instruct", CALL), json.dumps({**CALL, "name": "x", "args": "none"}), (0.5, 1)),
        (place("instruct", CALL), json.dumps({"thought": "", "name": "Weather.today"}), (0, 0)),
        (place("instruct", CALL), "I do not know.", (0, 0)),
        (place("instruct", CALL, template={"thought": "t", "name": "a", "args": "i"}), str({"t": "", "a": "", "i": {}}), (0.5, 1)),
        (place("instruct", CALL, "text", template=TEXT), f"Thought: a\nAction: Weather.today \nInput: {CALL['args']}", (1, 1)),
        (place("instruct", CALL, "text", template=TEXT), "Thought: a\nAction: Weather.today\nInput: Paris", (0.6667, 1)),
        (place("instruct", CALL, "text", template=TEXT), "Action: Weather.today", (0, 0)),
        (place("instruct", 天气), "```json\n" + json.dumps(天气, ensure_ascii=False) + "```", (1, 1)),
        (place("plan", {"plan": PLAN}), json.dumps(PLAN), (1, 1)),
        (place("plan", {"plan": PLAN}), f"Here it is: {json.dumps(PLAN)} and so on.", (1, 1)),
        # Two of three: precision 1, recall 2/3.
        (place("plan", {"plan": PLAN}), json.dumps(PLAN[1:]), (0.8, 1)),
        # In the wrong order only one counts: 1/2 and 1/3.
        (place("plan", {"plan": PLAN}), json.dumps([{**PLAN[1], "id": 0}, {**PLAN[0], "id": 1}]), (0.4, 1)),
        (place("plan", {"plan": PLAN}), json.dumps([*PLAN, {"id": 3, "name": "FinishAction", "args": {}}]), (1, 1)),
        (place("plan", {"plan": PLAN}), json.dumps([{"name": "Map.find"}]), (0, 0)),
        # The arguments, a quarter, are the words of the sentence: 2 of 5, 2 of 5, 2 of 4 are shared, all above 0.8.
        (
            place("plan", {"plan": PLAN}, "text", names=STEPS),
            "Map.find the place station. Then Map.route to the station\nMail.send to Ann", (1, 1),
        ),
        (place("plan", {"plan": PLAN}, "text", names=STEPS), "Go home.", (0, 0)),
        (place("reason", CALL), json.dumps({"thought": "I need weather"}), (0.8571, 1)),
        (place("reason", CALL, "text"), "i need the Weather", (1, 1)),
        (place("reason", 天气, "text"), "需要天气", (0.8889, 1)),
        (place("reason", CALL), "[]", (0, 0)),
        (place("retrieve", CALL), json.dumps(CALL), (1, 1)),
        (place("retrieve", CALL), json.dumps({"name": "Weather"}), (0, 1)),
        (place("retrieve", CALL, "text"), "I use Weather.today now", (1, 1)),
        (place("retrieve", CALL, "text"), "Weather.today or Map.find", (0, 1)),
        (place("retrieve", CALL, "text"), "Weather.today, then FinishAction", (0, 1)),
        (place("retrieve", 天气, "text"), "使用 天气.查询 。", (1, 1)),
        (place("understand", CALL), json.dumps({"args": {"city": "Paris", "days": "2"}}), (1, 1)),
        (place("understand", CALL), json.dumps({"args": {"city": "Paris"}}), (0.5, 1)),
        (place("understand", {"args": {}}), json.dumps({"args": {}}), (1, 1)),
        (place("understand", {"args": {}}), json.dumps({"args": {"x": 1}}), (0, 1)),
        (place("understand", {"args": "city=Paris"}, "text"), "'city=Paris'", (1, 1)),
        (place("review", {"review": True}), '{"is_finished": true}', (1, 1)),
        (place("review", {"review": True}), '{"is_finished": "yes"}', (0, 0)),
        (place("review", {"review": "C"}, "text"), "Answer: C. The call failed.", (1, 1)),
        (place("review", {"review": "C"}, "text"), "B", (0, 1)),
        (place("review", {"review": "C"}, "text"), "I am not sure", (0, 0)),
    ],
)  # fmt: skip
def test_rules(record, reply, expected):
    assert scored(record, reply) == expected


def test_a_plan_always_gets_one_step_as_published():
    assert plan_f1([("a", "x")], [("b", "y"), ("c", "z")], overlap) == pytest.approx(2 / 3)
    assert plan_f1([("FinishAction", "")], [("b", "y")], overlap) == 0


def test_parts():
    assert longest_rising([2, 0, 1, 3]) == 3 and longest_rising([]) == 0
    assert overlap("", "") == 1 and overlap("a", "") == 0 and overlap("", "!") == 0
    assert read_json("[" * 100_000) is None
    assert read_steps("first Mail.send with Map.find", STEPS) == [("Mail.send", "first Mail.send with Map.find")]


def test_figures_are_means_of_formats_and_abilities(tmp_path: Path, scripted, progress) -> None:
    records = [
        place("retrieve", CALL),
        place("retrieve", CALL, "text"),
        place("review", {"review": "A"}, "text") | {"language": "zh"},
        place("retrieve", CALL) | {"abilities": ["retrieve", "understand"]},
    ]
    reply = json.dumps(CALL | {"args": {"city": "Paris", "days": 3}})
    result = Transcripts(write(tmp_path / "a.jsonl", records)).run(scripted(lambda _: reply), progress)
    abilities = result.figures["abilities"]
    assert list(abilities) == ["retrieve", "understand", "review"]
    assert abilities["retrieve"]["formats"]["json"] == {"score": 1, "parsed": 1, "count": 2}
    assert [abilities[name]["score"] for name in abilities] == [1, 0.5, 0]
    assert result.figures["score"] == 0.5 and result.figures["count"] == 5
    assert result.figures["similarity"] == "overlap"
    assert result.figures["languages"]["zh"]["abilities"]["review"]["formats"]["text"]["parsed"] == 0
    assert result.samples[0] == {
        "id": "retrieve", "language": "en", "format": "json", "ability": "retrieve", "reference": CALL, "answer": reply,
        "score": 1.0, "parsed": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"abilities": ["guess"]}, r"abilities=\['guess'\] must be some of instruct"),
        ({"format": "xml"}, "format='xml' must be json or text"),
        ({"reference": {"thought": "x"}}, "lacks args, name"),
        ({"format": "text"}, "must be a text with {thought}"),
        ({"template": {"thought": "t"}}, "must say how thought, name and args are called"),
        ({"abilities": ["plan"], "format": "text", "reference": {"plan": []}}, "names must be given"),
    ],
)
def test_places_that_cannot_be_used(change, words):
    with pytest.raises(ValueError, match=words):
        place_of(place("instruct", CALL) | change)
