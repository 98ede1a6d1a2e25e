"""Planted items are all found, at the steps at which the loader really gave them."""

import json
from collections import namedtuple
from itertools import chain, islice, repeat
from pathlib import Path

import pytest
from internlm2_data.contamination import find_contamination
from internlm2_data.contamination.items import FIELDS, item_of
from internlm2_data.contamination.stream import token_span
from internlm2_data.loading import BatchRamp, ChatBatches, LongRows, PackedBatches

Encoded = namedtuple("Encoded", "ids loss_mask")
CONTEXT = 64


def items_of(world, count: int) -> list[dict]:
    """Half of them Chinese, with a question and an answer."""
    make = [lambda n: world.english(n), lambda n: world.chinese(n)]
    return [
        {
            "id": f"i{number}",
            "question": make[number % 2](20),
            "answer": make[number % 2](14),
            "correct": number % 3 == 0,
        }
        for number in range(count)
    ]


def write_items(world, items: list[dict]) -> str:
    (world.folder / "exam.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return str(world.folder / "exam.jsonl")


def steps_given(batches, steps: int) -> dict[int, set[int]]:
    """The steps of each id, by what a real loader gives."""
    found: dict[int, set[int]] = {}
    passes = chain.from_iterable(repeat(batches.loader()))
    for step, batch in enumerate(islice(passes, steps), 1):
        for id_ in batch["input_ids"].flatten().tolist():
            found.setdefault(id_, set()).add(step)
    return found


def find(world, batches, items: list[dict], steps: int, **settings) -> tuple[dict, list[dict], list[dict]]:
    out = world.folder / "out"
    metrics = find_contamination("run", batches, world, [write_items(world, items)], str(out), steps=steps, **settings)
    assert json.loads((out / "metrics.json").read_text()) == metrics
    lines = [
        [json.loads(line) for line in (out / name).read_text().splitlines()]
        for name in ("matches.jsonl", "items.jsonl")
    ]
    return metrics, *lines


def packed(world, kind: str, english: Path, chinese: Path) -> PackedBatches:
    sources = {"en": english, "zh": chinese}
    settings = {
        "plain": {"pass_batches": 7},
        "weights": {"weights": {"en": 1, "zh": 3}},
        "cut": {"short_context": 24},
        "ramp": {"ramp": BatchRamp(2, 1, 60)},
        "long": {"long": LongRows({"zh": chinese}, min_tokens=40), "long_fraction": 0.5},
    }
    return PackedBatches(sources, CONTEXT, 5, seed=3, **settings[kind])


@pytest.mark.parametrize("kind", ["plain", "weights", "cut", "ramp", "long"])
@pytest.mark.parametrize("steps", [6, 60])
def test_token_files(world, kind: str, steps: int) -> None:
    """After 6 steps a part of the files has been given, after 60 some of them came several times."""
    items = items_of(world, 40)
    planted = [item[field] for item in items[:20] for field in ("question", "answer")]
    english, first = world.file("en-web", [world.english(world.rng.randint(3, 60)) for _ in range(40)], planted[:20])
    chinese, second = world.file("zh-web", [world.chinese(world.rng.randint(9, 90)) for _ in range(20)], planted[20:])
    batches = packed(world, kind, english, chinese)
    metrics, matches, verdicts = find(world, batches, items, steps)
    given = steps_given(batches, steps)
    expected = {
        text: sorted(set().union(*(given.get(id_, set()) for id_ in ids))) for text, ids in (first | second).items()
    }
    found: dict[str, set[int]] = {}
    for match in matches:
        text = next(item for item in items if item["id"] == match["item"])[match["field"]]
        assert match["text"] == text and match["words"] == [0, match["of"]]
        # The same document may come as a short and as a long one.
        found.setdefault(text, set()).update(match["steps"])
    assert {text: sorted(at) for text, at in found.items()} == {text: at for text, at in expected.items() if at}
    assert len(found) < 40 if steps == 6 else len(found) > 30
    assert all(row["verdict"] == "clean" and row["first_step"] is None for row in verdicts[20:])
    for row, item in zip(verdicts[:20], items, strict=False):
        at = expected[item["question"]] + expected[item["answer"]]
        assert row["first_step"] == min(at, default=None) and row["verdict"] == ("dirty" if at else "clean")
    exam = metrics["sets"]["exam"]
    assert exam["items"] == 40 == exam["clean"]["items"] + exam["dirty"]["items"]
    scores = [row["score"] for row in verdicts if row["verdict"] == "dirty"]
    assert exam["dirty"]["score"] == pytest.approx(sum(scores) / len(scores))
    assert metrics["further"] == 0


def test_conversations(world) -> None:
    """Each pass gives every conversation once more."""
    items = items_of(world, 12)
    ids: dict[str, list[int]] = {}

    def encode(messages) -> Encoded:
        parts = [ids.setdefault(message["content"], world.encode(message["content"])) for message in messages]
        joined = [id_ for part in parts for id_ in [*part, *end]]
        return Encoded(joined, [True] * len(joined))

    end = world.encode("\n")
    chats = [(item["question"], item["answer"]) for item in items[:8]] + [("Hi.", world.english(9)) for _ in range(9)]
    file = world.folder / "chats.jsonl"
    file.write_text("".join(json.dumps({"instruction": q, "output": a}) + "\n" for q, a in chats))
    batches = ChatBatches(str(file), encode, context=160, batch_rows=2, seed=5)
    _, matches, verdicts = find(world, batches, items, 30)
    given = steps_given(batches, 30)
    assert len(matches) == 16 and {match["source"] for match in matches} == {"conversations"}
    for match in matches:
        text = items[int(match["item"][1:])][match["field"]]
        assert match["steps"] == sorted(set().union(*(given[id_] for id_ in ids[text]))) and len(match["steps"]) > 1
    assert [row["verdict"] for row in verdicts] == ["dirty"] * 8 + ["clean"] * 4


def test_phases_count_on(world) -> None:
    items = items_of(world, 2)
    one, _ = world.file("one", [world.english(50) for _ in range(9)], [])
    two, ids = world.file("two", [world.english(50) for _ in range(9)], [items[0]["question"]])
    phase = namedtuple("phase", "steps batches")
    parts = [phase(7, PackedBatches({"one": one}, 64, 2, 1)), phase(9, PackedBatches({"two": two}, 32, 3, 1))]
    _, [match], _ = find(world, namedtuple("phases", "phases")(parts), items, 15)
    given = steps_given(parts[1].batches, 8)
    assert match["steps"] == [step + 7 for step in sorted(set().union(*(given[i] for i in ids[items[0]["question"]])))]
    _, matches, _ = find(world, namedtuple("phases", "phases")(parts), items, 7)
    assert not matches


def test_disguises_and_parts(world) -> None:
    """Case, punctuation, line breaks and widths do not count. Half of a question is not enough."""
    question = world.english(26)
    items = [{"id": "a", "question": question, "answer": "18"}, {"id": "b", "question": "Why?", "reference": "So."}]
    words = question.split()
    disguised = ", ".join(words[:18]).upper() + "!\n"
    wide = "".join(chr(ord(char) + 0xFEE0) for char in words[18])
    text = f"{disguised} {wide} -- {' '.join(words[19:])}"
    file, _ = world.file("web", [text], [])
    batches = PackedBatches({"web": file}, 64, 1, 1)
    metrics, [match], rows = find(world, batches, items, 30)
    assert rows[0]["question"] == 1 and rows[0]["answer"] is None and match["text"] == text
    exam = metrics["sets"]["exam"]
    assert [exam[verdict]["items"] for verdict in ("clean", "dirty", "too_short")] == [0, 1, 1]
    assert exam["answer_not_looked_for"] == 2 and exam["dirty"]["score"] is None
    file, _ = world.file("half", [" ".join(words[:13]) + " and " + " ".join(words[14:24])], [])
    for share, verdict in ((0.7, "clean"), (0.5, "dirty"), (0.0, "dirty")):
        _, _, rows = find(world, PackedBatches({"half": file}, 64, 1, 1), items, 30, dirty_from=share)
        assert rows[0]["verdict"] == verdict and rows[0]["question"] == 0.5
    _, matches, rows = find(world, PackedBatches({"half": file}, 64, 1, 1), items, 30, n=14)
    assert not matches and rows[0]["verdict"] == "clean"


def test_what_is_shorter_than_an_n_gram_is_found_whole(world) -> None:
    items = [{"id": "a", "question": world.english(10)}, {"id": "b", "question": world.english(10)}]
    part = " ".join(items[1]["question"].split()[:9])
    file, _ = world.file("web", [f"{world.english(4)} {items[0]['question']} {part}"], [])
    _, [match], rows = find(world, PackedBatches({"web": file}, 64, 1, 1), items, 9)
    assert match["item"] == "a" and [row["verdict"] for row in rows] == ["dirty", "clean"]


def test_what_is_not_kept_is_counted(world) -> None:
    items = items_of(world, 1)
    common = " ".join(items[0]["question"].split()[:14])
    file, _ = world.file("web", [common] * 9 + [items[0]["question"]], [])
    batches = PackedBatches({"web": file}, 64, 4, 1)
    metrics, matches, rows = find(world, batches, items, 60, most=2)
    assert metrics["further"] == 7 and len(matches) == 3, "the last one has units that no other has"
    assert rows[0]["question"] == 1 and rows[0]["verdict"] == "dirty"


@pytest.mark.parametrize(
    ("record", "texts", "score"),
    [
        ({"question": "q", "reference": "r", "answer": "said", "correct": True}, {"question": "q", "answer": "r"}, 1),
        (
            {"question": "q", "target": "t", "answer": "said", "correct": None, "scores": {"f1": 0.5}},
            {"question": "q", "answer": "t"},
            0.5,
        ),
        ({"question": "q", "target": 2, "answer": "said", "correct": False}, {"question": "q"}, 0),
        ({"problem": "p", "solution": "s", "score": 7}, {"question": "p", "answer": "s"}, None),
        (
            {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]},
            {"question": "u", "answer": "a"},
            None,
        ),
    ],
)
def test_records_of_evaluations(record: dict, texts: dict, score: float | None) -> None:
    """What a model said is not what is looked for."""
    item = item_of(record, "set", "place", FIELDS)
    assert item.texts == texts and item.score == score


def test_half_characters() -> None:
    """A byte a token, as byte-level tokenizers may cut a character."""
    text = "a天b地🙂c玄"

    def decode(ids) -> str:
        return bytes(ids).decode("utf-8", "replace")

    ids = list(text.encode())
    for start in range(len(text)):
        for stop in range(start + 1, len(text) + 1):
            first, last = token_span(ids, decode, start, stop)
            assert decode(ids[first:last]) == text[start:stop]


def test_planning_moves_nothing(world) -> None:
    file, _ = world.file("web", [world.english(40) for _ in range(9)], [])
    loader = PackedBatches({"web": file}, 32, 2, 1, pass_batches=3).loader()
    before = loader.state_dict()
    assert len(list(loader.places(10))) == 10 and loader.state_dict() == before
    assert len(list(loader)) == 3


def test_mistakes(world, tmp_path: Path) -> None:
    file, _ = world.file("web", [world.english(40)], [])
    batches = PackedBatches({"web": file}, 32, 2, 1)
    items = write_items(world, items_of(world, 1))
    for settings, words in [
        ({"least": 14}, "least=14 must be between 1 and n=13"),
        ({"dirty_from": 2}, "dirty_from=2 must be between 0 and 1"),
        ({"items": [items, items]}, "since exam is there twice"),
    ]:
        with pytest.raises(ValueError, match=words):
            find_contamination(
                **{"run": "r", "batches": batches, "tokenizer": world, "items": [items], "output": "o", "steps": 1}
                | settings
            )
    with pytest.raises(FileNotFoundError, match=r"steps=None must be given, since .* has no training\.json"):
        find_contamination(str(tmp_path), batches, world, [items], "o")
    (tmp_path / "odd.jsonl").write_text('{"id": 1, "body": "x"}\n')
    with pytest.raises(ValueError, match="line 1"):
        find_contamination("r", batches, world, [str(tmp_path / "odd.jsonl")], "o", steps=1)
