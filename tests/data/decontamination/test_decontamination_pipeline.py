"""`pipeline=decontamination`: outputs, counts, and what a second run does."""

import json

import pytest
from internlm2_data.executor import LocalExecutor
from internlm2_data.io import ShardReader
from internlm2_data.jobs import process
from internlm2_data.pipelines import DecontaminationPipeline

QUESTION = (
    "A train leaves Lindau at nine and reaches Bregenz eleven minutes later. How fast does it run over twelve miles?"
)
HOST = (
    "The harbour was quiet that morning, and nobody on the pier had seen the boat number {} that was said to be lost."
)


@pytest.fixture
def files(tmp_path):
    texts = [HOST.format(n) for n in range(6)]
    texts[2] = f"{texts[2]}\n{QUESTION}\nIt runs 65 miles an hour."
    texts[4] = QUESTION.replace("nine", "ten")
    for n in range(2):
        lines = [json.dumps({"text": text, "language": "en"}) for text in texts[3 * n : 3 * n + 3]]
        (tmp_path / f"in{n}.jsonl").write_text("\n".join([*lines, "{broken"]))
    records = [{"question": QUESTION, "answer": "65"}, {"question": "Who?"}, {"no": 1}]
    (tmp_path / "rail.jsonl").write_text("\n".join(map(json.dumps, records)))
    return tmp_path


def run(folder, workers=0, **settings):
    pipeline = DecontaminationPipeline([str(folder / "rail.jsonl")], shard_bytes=1, **settings)
    inputs = [str(folder / f"in{n}.jsonl") for n in range(2)]
    process(pipeline, inputs, folder / "out", LocalExecutor(workers))
    return folder / "out"


def documents(folder, pattern):
    return [document for path in sorted(folder.glob(pattern)) for document in ShardReader(path)]


def test_documents_with_items_go_with_the_place_and_the_words(files):
    out = run(files)
    stage = json.loads((out / "funnel.json").read_text())["stages"][0]
    assert stage["documents"] == {"en-webpages": 4} and stage["num_faults"] == 2
    assert stage["dropped"] == {"contamination.question": {"en-webpages": 2}}
    assert len(documents(out, "decontaminated/*")) == 4
    first, second = documents(out, "excluded/*")
    matches = list(map(json.loads, (out / "matches.jsonl").read_text().splitlines()))
    assert [m["document"] for m in matches] == [first.id, second.id]
    assert [(m["exact"], m["answer"], m["set"]) for m in matches] == [(True, True, "rail"), (False, False, "rail")]
    assert matches[0]["text"] == first.text[matches[0]["start"] : matches[0]["stop"]] == QUESTION[:-1]
    assert matches[0]["item"].endswith("rail.jsonl, line 1") and matches[1]["wanted"] == QUESTION
    assert first.trail[-1]["rule"] == "contamination.question" and first.trail[-1]["value"] == 1
    report = json.loads((out / "contamination.json").read_text())
    assert report["sets"] == {"rail": {
        "items": 2, "too_short": 1, "by_question": 1, "by_question_and_answer": 0, "by_answer": 0, "found": 1, "documents": 2,
    }} and report["num_faults"] == 1  # fmt: skip


def test_any_number_of_workers_gives_the_same_bytes(files):
    def snapshot(out):
        return {p.relative_to(out): p.read_bytes() for p in sorted(out.rglob("*")) if p.suffix in (".zst", ".jsonl")}

    once = snapshot(run(files))
    (files / "out").rename(files / "first")
    assert snapshot(run(files, workers=2)) == once


def test_another_evaluation_file_looks_again_and_the_same_one_does_not(files):
    out = run(files)
    stamp = (out / "decontaminated" / "00000.jsonl.zst").stat().st_mtime_ns
    run(files)
    assert (out / "decontaminated" / "00000.jsonl.zst").stat().st_mtime_ns == stamp
    (files / "rail.jsonl").write_text(json.dumps({"question": HOST.format(0)}))
    assert len(documents(run(files), "excluded/*")) == 5  # numbers differ: near matches
    assert {m["wanted"] for m in map(json.loads, (out / "matches.jsonl").read_text().splitlines())} == {HOST.format(0)}


def test_evaluation_without_questions_is_refused(files):
    (files / "rail.jsonl").write_text('{"no": 1}')
    with pytest.raises(ValueError, match=r"rail\.jsonl'\] hold no question\. The first of 1 faults.*no question under"):
        run(files)
    with pytest.raises(ValueError, match=r"evaluation=\[\] must name files"):
        process(DecontaminationPipeline([]), [str(files / "in0.jsonl")], files / "out", LocalExecutor(0))
