import bz2
import gzip
import json
import lzma
import tracemalloc
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from internlm2_data.document import Document
from internlm2_data.io import Fault, Item, Passed, ShardReader, ShardWriter, expand_inputs, read_items
from internlm2_data.io.documents import read_documents

LINES = b'{"text": "one", "url": "u"}\n{"text": "tw\n\n{"content": "three"}\n{"no": 1}\n"text"\n'


def items(path):
    found = list(read_items(path))
    return [x for x in found if isinstance(x, Item)], [x for x in found if isinstance(x, Fault)]


PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json"])
def test_broken_lines_are_reported_and_the_rest_is_read(tmp_path, ending, packed):
    path = tmp_path / f"a{ending}{packed}"
    path.write_bytes(PACK[packed](LINES))
    assert expand_inputs([tmp_path]) == [path]
    good, faults = items(path)
    assert [item.content for item in good] == ["one", "three"]
    assert good[0].record == {"url": "u"}
    assert [(fault.offset, fault.unit) for fault in faults] == [(2, "line"), (5, "line"), (6, "line")]
    assert "broken JSON" in faults[0].what


def test_a_truncated_archive_keeps_what_came_before(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    lines = "".join(json.dumps({"text": f"document {i}"}) + "\n" for i in range(5000)).encode()
    path.write_bytes(gzip.compress(lines)[:-2000])
    good, faults = items(path)
    assert good[0].content == "document 0"
    assert len(faults) == 1 and "cannot be decompressed" in faults[0].what


def test_invalid_utf8_is_replaced(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "caf\xe9"}\n')
    good, faults = items(path)
    assert good[0].content == "caf\ufffd" and not faults


def test_parquet_and_datasets_folders(tmp_path):
    pq.write_table(pa.table({"text": ["a", None, "c"], "n": [1, 2, 3]}), tmp_path / "t.parquet")
    good, faults = items(tmp_path / "t.parquet")
    assert [(i.content, i.record["n"]) for i in good] == [("a", 1), ("c", 3)]
    assert (faults[0].offset, faults[0].unit) == (2, "row")

    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "dataset_info.json").write_text("{}")
    (folder / "state.json").write_text("{}")
    table = pa.table({"text": ["x", "y"]})
    with pa.OSFile(str(folder / "data-00000.arrow"), "wb") as out, pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    assert expand_inputs([tmp_path]) == [folder, tmp_path / "t.parquet"]
    assert [item.content for item in items(folder)[0]] == ["x", "y"]


def test_parquet_values_that_json_has_not(tmp_path):
    row = {"text": "a", "date": datetime(2020, 8, 3), "picture": {"bytes": b"\xff", "size": Decimal("1.5")}}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "t.parquet")
    (document,) = read_documents(tmp_path / "t.parquet")
    assert document.date == "2020-08-03T00:00:00"
    assert document.meta["picture"] == {"bytes": None, "size": "1.5"}
    for name in ("a.jsonl.zst", "a.parquet"):
        with ShardWriter(tmp_path / name) as shard:
            shard.add(document)
        assert list(ShardReader(tmp_path / name)) == [document]


def test_files_that_are_not_what_their_name_says(tmp_path):
    for name in ("a.parquet", "b.jsonl.gz", "c.warc.gz", "d.jsonl.zst"):
        (tmp_path / name).write_bytes(b"this is no archive at all, only some text")
        good, faults = items(tmp_path / name)
        assert not good and len(faults) == 1, name


def test_empty_files(tmp_path):
    for name in ("a.jsonl", "b.warc", "c.txt", "d.jsonl.gz"):
        (tmp_path / name).write_bytes(b"")
        good, _ = items(tmp_path / name)
        assert [item.content for item in good] in ([], [b""]), name


def test_a_zip_bomb_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("internlm2_data.io.plain.MAX_LINE_BYTES", 1000)
    (tmp_path / "a.html.gz").write_bytes(gzip.compress(b"0" * 1_000_000))
    good, faults = items(tmp_path / "a.html.gz")
    assert not good and "more than 1000 bytes" in faults[0].what


def test_expanding_inputs(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.txt", "b/1.txt", "a.jsonl", "b/x.bin", "_hidden.txt"):
        (tmp_path / name).write_text("{}")
    assert [p.name for p in expand_inputs([tmp_path])] == ["a.jsonl", "1.txt", "2.txt", "x.bin"]
    assert [p.name for p in expand_inputs([f"{tmp_path}/b/*.txt", tmp_path / "a.jsonl"])] == [
        "1.txt",
        "2.txt",
        "a.jsonl",
    ]


def test_reports_of_a_stage_are_no_documents(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": "written", "outputs": {}}, indent=2))
    (tmp_path / "counts.json").write_text("{}")
    assert [path.name for path in expand_inputs([tmp_path])] == ["a.jsonl"]


def test_nothing_in_a_folder_is_passed_over_without_a_word(tmp_path):
    (tmp_path / "card").mkdir()
    lines = b'{"text": "one"}\n'
    for name, data in {
        "a.jsonl.xz": lzma.compress(lines), "b.jsonl.bz2": bz2.compress(lines), "c.jsonlines": lines,
        "d.csv": b'text,n\n"one, ""two""\nthree",4\ncut\n', "e.tsv": b"content\tn\none\t2\n", "f.arc.gz": b"?",
        "README.md": b"# What this is", "card/README.md": b"# A text of its own",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
    found = [thing for path in expand_inputs([tmp_path]) for thing in read_items(path)]
    texts = [thing.content for thing in found if isinstance(thing, Item)]
    assert texts == ["one", "one", "one", b"# A text of its own", 'one, "two"\nthree', "one"]
    faults = {Path(thing.file).name: thing.what for thing in found if isinstance(thing, Fault)}
    assert faults == {"d.csv": "has 1 cells for 2 columns"}
    passed = [thing.reason for thing in found if isinstance(thing, Passed)]
    assert passed == ["file that describes the records beside it", "file ending in .gz"]


@pytest.mark.parametrize(
    ("content", "texts", "what"),
    [
        ('[{"text": "a"}, {"text": "b"}]', ["a", "b"], []),
        ('\ufeff\n[\n {\n  "text": "a"\n },\n\n {"text": "' + "b" * 200_000 + '"}\n]\n', ["a", "b" * 200_000], []),
        ("[]", [], []),
        ('[{"text": "a"}, {"text": "b"', ["a"], ["and the rest are no items"]),
        ('[{"text": "a"}]\n[{"text": "b"}]\n', ["a"], ["comes after the end of the list"]),
        ('[{"text": "a"}, 5, {"text": "b"}]', ["a", "b"], ["no string under"]),
        ('{"text": "a"}\n{"text": "b"}\n', ["a", "b"], []),
    ],
)
def test_a_json_list_is_read_item_by_item(tmp_path, content, texts, what):
    (tmp_path / "a.json").write_text(content, "utf-8")
    good, faults = items(tmp_path / "a.json")
    assert [item.content for item in good] == texts
    assert len(faults) == len(what)
    assert all(part in fault.what for part, fault in zip(what, faults, strict=True))


def test_a_table_loses_no_more_than_the_row_that_cannot_be_read(tmp_path):
    raw = pa.array([b"one", b"tw\xff", b"three"], pa.binary())
    text = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    far = pa.array([1, 2_000_000_000, None], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"text": text, "date": far}), tmp_path / "t.parquet")
    good, faults = items(tmp_path / "t.parquet")
    assert [(item.content, item.record.get("date")) for item in good] == [("one", "1970-01-02"), ("three", None)]
    assert [(f.offset, f.unit) for f in faults] == [(2, "row")] and "not UTF-8 in column text" in faults[0].what
    pq.write_table(pa.table({"text": ["one", "two", "three"], "date": far}), tmp_path / "u.parquet")
    dates = [item.record.get("date") for item in items(tmp_path / "u.parquet")[0]]
    assert dates[::2] == ["1970-01-02", None] and isinstance(dates[1], str)


def test_a_text_inside_a_struct_is_found(tmp_path):
    rows = [
        {"id": 1, "doc": {"content": "inside", "n": 2}},
        {"id": 2, "doc": {"content": "a"}, "other": {"text": "b"}},
        {"id": 3, "doc": {"body": "c"}},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    good, faults = items(tmp_path / "a.jsonl")
    assert [(i.content, i.record) for i in good] == [("inside", {"id": 1, "doc": {"n": 2}})]
    assert [fault.offset for fault in faults] == [2, 3] and "Its keys are id, doc, other" in faults[0].what


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        ([], ValueError, r"inputs=\[\] must name"),
        (["nowhere.jsonl"], FileNotFoundError, "nowhere.jsonl does not exist"),
        (["{}/a.bin"], ValueError, "The format of .*a.bin is not known"),
        (["{}/empty"], ValueError, "contain no file that can be read"),
    ],
)
def test_inputs_that_mean_nothing(tmp_path, inputs, kind, message):
    (tmp_path / "a.bin").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(kind, match=message):
        expand_inputs([name.format(tmp_path) for name in inputs])


@pytest.mark.parametrize("suffix", ["jsonl.zst", "parquet"])
def test_shards_round_trip(tmp_path, suffix):
    documents = [Document(f"第 {i} 篇 \ud800", meta={"i": i}).with_note(stage="a", value=0.5) for i in range(2500)]
    path = tmp_path / f"00000.{suffix}"
    with ShardWriter(path) as out:
        for document in documents:
            out.add(document)
    read = list(ShardReader(path))
    assert [d.id for d in read] == [d.id for d in documents]
    assert read[7].meta == {"i": 7} and read[7].trail == [{"stage": "a", "value": 0.5}]
    assert read[7].text == "第 7 篇 ?"
    with ShardWriter(path):
        pass
    assert list(ShardReader(path)) == []


def test_a_shard_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), ShardWriter(tmp_path / "a.jsonl.zst") as out:
        out.add(Document("x"))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_documents_of_a_stage_keep_their_id(tmp_path):
    document = Document("text", language="en").with_note(stage="clean", rule="r", value=1, action="score")
    with ShardWriter(tmp_path / "00000.jsonl.zst") as out:
        out.add(document.with_text("changed"))
    (read,) = read_documents(tmp_path / "00000.jsonl.zst")
    assert read.id == document.id and read.trail[0]["rule"] == "r"


def test_documents_of_others_get_what_they_lack(tmp_path):
    english, chinese = (
        "The cat sat on the mat, and the dog lay in the sun.",
        "猫坐在垫子上，狗在太阳下面睡觉，今天天气很好。",
    )
    lines = [{"text": english, "meta": "of others", "source": ["x"], "trail": 3}, {"text": chinese, "language": None}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "b.txt").write_bytes(chinese.encode("gb18030"))
    documents = [document for name in ("a.jsonl", "b.txt") for document in read_documents(tmp_path / name)]
    assert [(d.text, d.language) for d in documents] == [(english, "en"), (chinese, "zh"), (chinese, "zh")]


def test_a_line_of_a_hundred_megabytes_costs_no_memory(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as out:
        out.write(b'{"text": "before"}\n{"text": "')
        for _ in range(100):
            out.write(b"x" * (1 << 20))
        out.write(b'"}\n{"text": "after"}\n')
    tracemalloc.start()
    good, faults = items(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [item.content for item in good] == ["before", "after"]
    assert (faults[0].offset, faults[0].unit) == (2, "line")
    assert peak < 200 << 20
