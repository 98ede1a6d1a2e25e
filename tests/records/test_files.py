"""Records of every kind of file, each with its place."""

import bz2
import gzip
import io
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from internlm2_records import Placed, read_objects, read_records
from internlm2_records.streams import bounded_lines

RECORDS = [{"n": 1}, {"n": 2}]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()


def write(folder):
    """One file of each kind, with the unit of its places."""
    table = pa.Table.from_pylist(RECORDS)
    (folder / "a.jsonl").write_bytes(LINES)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(LINES))
    (folder / "c.ndjson.zst").write_bytes(zstandard.compress(LINES))
    (folder / "c2.jsonlines.xz").write_bytes(lzma.compress(LINES))
    (folder / "d.json").write_text(json.dumps(RECORDS))
    (folder / "e.json.gz").write_bytes(gzip.compress(json.dumps(RECORDS).encode()))
    pq.write_table(table, folder / "f.parquet")
    for name, writer in (("g.arrow", pa.ipc.new_stream), ("h.arrow", pa.ipc.new_file)):
        with pa.OSFile(str(folder / name), "wb") as out, writer(out, table.schema) as stream:
            stream.write_table(table)
    return {name: unit for unit, names in (("line", "a.jsonl b.jsonl.gz c.ndjson.zst c2.jsonlines.xz"), ("record", "d.json e.json.gz"),
            ("row", "f.parquet g.arrow h.arrow")) for name in names.split()}  # fmt: skip


def test_every_kind_of_file(tmp_path):
    for name, unit in write(tmp_path).items():
        found = list(read_records(tmp_path / name))
        assert [placed.value for placed in found] == RECORDS, name
        assert [placed.place for placed in found] == [f"{tmp_path / name}, {unit} {n}" for n in (1, 2)]


def test_columns_of_text(tmp_path):
    (tmp_path / "a.csv.bz2").write_bytes(bz2.compress("\ufeffn,s\n1,é\n".encode()))
    assert [placed.value for placed in read_records(tmp_path / "a.csv.bz2")] == [{"n": "1", "s": "é"}]


def test_zstd_with_the_largest_window(tmp_path):
    window = zstandard.ZstdCompressionParameters(window_log=28, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=window).compressobj()
    data = packer.compress(LINES) + packer.flush()
    (tmp_path / "a.jsonl.zst").write_bytes(data)
    assert [placed.value for placed in read_records(tmp_path / "a.jsonl.zst")] == RECORDS


def test_a_folder_is_read_by_name_without_the_reports_in_it(tmp_path):
    kinds = write(tmp_path)
    found = [placed.file.name for placed in read_records(str(tmp_path))]
    assert found == [name for name in kinds if ".json." not in f"{name}." for _ in RECORDS]


def test_a_broken_record_stops_nobody(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n\n{broken\n[1]\n\xff\n{"n": NaN, "s": "\\ud800"}\n')
    one, broken, listed, binary, odd = read_records(path)
    assert one.record() == {"n": 1} and odd.record()["s"] == "\ud800"
    for placed, sentence in (
        (broken, r"a\.jsonl, line 3 is broken JSON: .*\.$"),
        (listed, r"a\.jsonl, line 4 is not a JSON object but a list\.$"),
        (binary, r"a\.jsonl, line 5 is not UTF-8 \(invalid start byte\).*\.gz, \.zst, \.xz, \.bz2\.$"),
    ):
        with pytest.raises(ValueError, match=sentence):
            placed.record()


def test_what_parsing_refuses_is_said_with_its_place(tmp_path):
    placed = Placed(tmp_path / "a.jsonl", 3, {"b": 1})
    assert placed.parse(lambda record: record["b"]) == 1
    with pytest.raises(ValueError, match=r"a\.jsonl, line 3 lacks 'a'\. It has b\.$"):
        placed.parse(lambda record: record["a"])
    with pytest.raises(ValueError, match=r"a\.jsonl, line 3: invalid literal"):
        placed.parse(lambda record: int("x"))


def test_objects_are_all_good(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(LINES)
    assert read_objects(tmp_path / "a.jsonl", ("n",)) == RECORDS
    with pytest.raises(ValueError, match=r"line 1 lacks 'm'\. It has n\."):
        read_objects(tmp_path / "a.jsonl", ("n", "m"))
    (tmp_path / "b.jsonl").write_text("\n")
    with pytest.raises(ValueError, match=r"b\.jsonl is empty\."):
        read_objects(tmp_path / "b.jsonl")


def test_a_truncated_archive_keeps_what_came_before(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(b'{"n": %d}\n' % number for number in range(20000)))[:-2000])
    *good, last = read_records(path)
    assert [placed.value["n"] for placed in good] == list(range(len(good))) and len(good) > 100
    assert last.number == len(good) + 1 and "cannot be decompressed" in last.fault


def test_a_huge_line_is_skipped_without_being_held():
    lines = list(bounded_lines(io.BytesIO(b"ab\n" + b"x" * 1000 + b"\ncd"), limit=100))
    assert lines == [b"ab\n", None, b"cd"]


def test_files_that_are_not_what_their_name_says(tmp_path):
    for name, sentence in (
        ("a.json", r"a\.json is not a JSON list .*The suffix of JSON lines is \.jsonl\."),
        ("b.parquet", r"b\.parquet is not a readable Parquet file"),
        ("c.arrow", r"c\.arrow is not a readable Arrow file"),
    ):
        (tmp_path / name).write_text("this is some text")
        with pytest.raises(ValueError, match=sentence):
            list(read_records(tmp_path / name))
    (tmp_path / "d.json").write_text("{}")
    with pytest.raises(ValueError, match=r"d\.json holds a JSON dict, not a list\."):
        list(read_records(tmp_path / "d.json"))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl does not exist\."):
        read_records(tmp_path / "nowhere.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"empty holds no records: .*lacks the state\.json of datasets\.save_to_disk\."
    ):
        read_records(tmp_path / "empty")


def test_folders_of_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    saved = datasets.Dataset.from_list([*RECORDS, {"n": 3}])
    saved.save_to_disk(str(tmp_path / "one"), num_shards=2)
    loaded = datasets.load_from_disk(str(tmp_path / "one"))
    loaded.map(lambda row: {"n": -row["n"]})
    loaded.filter(lambda row: row["n"] == 1)
    assert len(list((tmp_path / "one").glob("cache-*.arrow"))) == 2
    assert [placed.value["n"] for placed in read_records(tmp_path / "one")] == [1, 2, 3]
    datasets.DatasetDict({"train": saved, "test": saved}).save_to_disk(str(tmp_path / "both"))
    with pytest.raises(ValueError, match=r"both holds the splits train, test\. Name one, such as .*/both/train\."):
        read_records(tmp_path / "both")
    assert [placed.value["n"] for placed in read_records(tmp_path / "both" / "test")] == [1, 2, 3]


def test_a_reader_of_ones_own(tmp_path):
    (tmp_path / "a.csv").write_text("n\n1\n2\n")

    def read_csv(path):
        return (Placed(path, number, {"n": int(n)}) for number, n in enumerate(path.read_text().split()[1:], 1))

    for path in (tmp_path / "a.csv", tmp_path):
        assert [placed.value for placed in read_records(path, {".csv": read_csv})] == RECORDS
