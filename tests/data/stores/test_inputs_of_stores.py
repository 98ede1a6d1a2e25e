"""Inputs and outputs in a store. Files of inputs are here one by one, and shards go there as they are finished."""

import errno
import gzip
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from internlm2_data.io import Fault, Item, expand_inputs, read_items
from internlm2_data.io.documents import read_documents
from internlm2_data.stores import local, store_file

from tests.data.counted_store import CountedStore, noted


def line(number, **fields):
    about = {"text": f"Page {number} of the crawl.", "language": "en", "url": f"http://x/{number}"}
    return json.dumps(about | fields) + "\n"


@pytest.fixture
def crawl(counted):
    """Files of a crawl in the store, in several formats, some of them no documents."""
    folder = counted / "crawl" / "CC-MAIN-2024-10"
    (folder / "b" / "_hidden").mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.jsonl").write_text(line(number) * 100)
    (folder / "b/3.jsonl.gz").write_bytes(gzip.compress(line(3).encode()))
    pq.write_table(pa.table({"text": ["a table of the crawl", "another row"]}), folder / "b" / "4.parquet")
    (folder / "b/5.txt").write_text("A text of the crawl.")
    (folder / "b/README.md").write_text("What is beside this.")
    (folder / "b/6.png").write_bytes(b"?")
    (folder / "b/_hidden/7.jsonl").write_text(line(7))
    (folder / "counts.json").write_text("{}")
    return counted / "crawl"


def names(files):
    return [file.name for file in files]


def told(files):
    """What is read, without the places of files."""
    found = [item for file in files for item in read_items(file)]
    return [
        (item.content, {k: v for k, v in item.record.items() if k != "url" or "x/" in v})
        if isinstance(item, Item)
        else item
        for item in found
    ]


def test_names_of_a_store_mean_what_local_ones_mean(crawl):
    inside = ["0.jsonl", "1.jsonl", "2.jsonl", "3.jsonl.gz", "4.parquet", "5.txt", "6.png", "README.md"]
    for pattern, expected in [
        ("", inside),
        ("/*/[12].jsonl", ["1.jsonl", "2.jsonl"]),
        ("/CC-MAIN-2024-10/2.jsonl", ["2.jsonl"]),
        ("/CC-MAIN-2024-10/*", inside),
    ]:
        (crawl / "CC-MAIN-2024-10/counts.json").unlink(missing_ok=True)
        there, beside = expand_inputs([f"counted://crawl{pattern}"]), expand_inputs([f"{crawl}{pattern}"])
        assert sorted(names(there)) == sorted(names(beside)) == expected
        assert told(there) == told(beside)
    assert not noted("got", "6.png") + noted("got", "README.md"), "what is passed over is not fetched"
    for name in ("counted://nowhere", "counted://crawl/*.warc"):
        with pytest.raises(FileNotFoundError, match=r"does not exist\."):
            expand_inputs([name])
    with pytest.raises(ValueError, match=r"The format of counted://crawl/CC-MAIN-2024-10/b/6\.png is not known"):
        expand_inputs(["counted://crawl/CC-MAIN-2024-10/b/6.png"])


def test_reports_and_folders_of_datasets(counted):
    folder = counted / "saved"
    folder.mkdir()
    table = pa.table({"text": ["one", "two"]})
    for name in ("data-00000.arrow", "cache-1.arrow"):
        with pa.OSFile(str(folder / name), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000.arrow"}]}))
    assert names(expand_inputs(["counted://saved"])) == ["data-00000.arrow"]
    assert told(expand_inputs(["counted://saved"])) == told(expand_inputs([str(folder)]))
    (counted / "run").mkdir()
    (counted / "run/funnel.json").write_text(json.dumps({"stages": [{"stage": "clean"}]}))
    with pytest.raises(ValueError, match=r"counted://run is a run of .* such as counted://run/clean\."):
        expand_inputs(["counted://run"])


def test_faults_and_texts_name_the_file_of_the_store(crawl):
    (crawl / "broken.jsonl").write_text('{"text": "one"}\n{"text": "tw\n')
    (crawl / "broken.parquet").write_bytes(b"no table")
    for name in ("broken.jsonl", "broken.parquet"):
        (fault,) = [item for item in read_items(store_file(f"counted://crawl/{name}")) if isinstance(item, Fault)]
        assert fault.file == f"counted://crawl/{name}" and tempfile.gettempdir() not in fault.what
    (text,) = read_items(store_file("counted://crawl/CC-MAIN-2024-10/b/5.txt"))
    assert text.record["url"] == "counted://crawl/CC-MAIN-2024-10/b/5.txt"


def test_a_file_is_here_while_it_is_read(crawl, tmp_path):
    items = read_items(store_file("counted://crawl/CC-MAIN-2024-10/0.jsonl"))
    next(items)
    assert [file.name for file in Path(tempfile.gettempdir()).rglob("*.jsonl")] == ["0.jsonl"]
    items.close()
    assert not list(Path(tempfile.gettempdir()).iterdir())


def test_a_read_that_fails_is_tried_again_and_then_is_a_fault(crawl):
    CountedStore.failures = {"0.jsonl": 3, "1.jsonl": 4}
    documents = [list(read_documents(file)) for file in expand_inputs(["counted://crawl/*/[012].jsonl"])]
    assert [len(each) for each in documents] == [100, 1, 100]
    (fault,) = documents[1]
    assert isinstance(fault, Fault) and fault.file == "counted://crawl/CC-MAIN-2024-10/1.jsonl"
    assert "failed 4 times, the last with RuntimeError: The line is dead." in fault.what


def test_a_file_that_arrives_short_is_fetched_again(crawl, monkeypatch):
    whole, lengths = CountedStore.get_file, iter([50, None])

    def cut(self, rpath, lpath, **settings):
        whole(self, rpath, lpath, **settings)
        if length := next(lengths):
            Path(lpath).write_bytes(Path(lpath).read_bytes()[:length])

    monkeypatch.setattr(CountedStore, "get_file", cut)
    assert len(list(read_items(store_file("counted://crawl/CC-MAIN-2024-10/0.jsonl")))) == 100


def test_a_file_that_is_gone_is_a_fault_and_a_full_disk_is_not(crawl, monkeypatch):
    files = expand_inputs(["counted://crawl/*/[01].jsonl"])
    (crawl / "CC-MAIN-2024-10/0.jsonl").unlink()
    (fault,) = read_items(files[0])
    assert isinstance(fault, Fault) and "FileNotFoundError" in fault.what

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CountedStore, "get_file", full)
    with pytest.raises(RuntimeError, match=r"1\.jsonl does not fit on this machine: .*No space left"):
        list(read_items(files[1]))


def test_small_files_are_copied_once_and_again_when_they_change(crawl):
    name = "counted://crawl/CC-MAIN-2024-10/0.jsonl"
    first = local(name)
    before = first.stat().st_mtime_ns
    assert local(name) == first and first.stat().st_mtime_ns == before
    (crawl / "CC-MAIN-2024-10/0.jsonl").write_text("other words")
    assert local(name) != first and local(name).read_text() == "other words"


def test_a_name_that_leads_out_of_the_cache_is_refused(crawl):
    file = store_file("counted://crawl/CC-MAIN-2024-10/0.jsonl")
    with pytest.raises(ValueError, match=r"must be a name without `\.\.`"):
        local(type(file)("counted://a/../../../../b", file.size_bytes, file.stamp))
