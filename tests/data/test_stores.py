"""Inputs, outputs and token files in a store, by fsspec's store in memory."""

import json

import fsspec
import pytest
from internlm2_data.executor import LocalExecutor
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.jobs import process
from internlm2_data.pipelines import TokensPipeline
from internlm2_data.stores import fetched, files_of, work_folder
from internlm2_data.tokens import TokenSource, token_sources


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    for number in range(4):
        line = {"text": f"Page {number} of the crawl.", "language": "en", "url": f"http://x/{number}"}
        folder = "CC-MAIN-2024-10/b" if number == 3 else "CC-MAIN-2024-10"
        memory.pipe(f"/crawl/{folder}/{number}.jsonl", (json.dumps(line) + "\n").encode())
    memory.pipe("/crawl/CC-MAIN-2024-10/_hidden/5.jsonl", b"{}")
    yield memory
    memory.store.clear()


def read_all(sources):
    return {name: [source.read(n).tolist() for n in range(len(source))] for name, source in sources.items()}


def test_names_of_a_store_mean_what_local_ones_mean(tmp_path):
    for inputs, names in [
        (["memory://crawl"], ["0.jsonl", "1.jsonl", "2.jsonl", "3.jsonl"]),
        (["memory://crawl/CC-MAIN-2024-10/[12].jsonl"], ["1.jsonl", "2.jsonl"]),
        (["memory://crawl/CC-MAIN-2024-10/2.jsonl"], ["2.jsonl"]),
    ]:
        files = expand_inputs(inputs)
        assert [file.name for file in files] == names
        assert all(file.is_relative_to(tmp_path / "cache") and "CC-MAIN-2024-10" in file.parts for file in files)
    with pytest.raises(FileNotFoundError, match=r"memory://nowhere does not exist\."):
        expand_inputs(["memory://nowhere"])
    with pytest.raises(FileNotFoundError, match=r"memory://crawl/4\.jsonl does not exist\."):
        fetched("memory://crawl/4.jsonl")


def test_a_copy_is_made_once_and_again_when_the_file_changes(store):
    [name, *_] = files_of("memory://crawl")
    first = fetched(name)
    before = first.stat().st_mtime_ns
    assert fetched(name) == first and first.stat().st_mtime_ns == before
    store.pipe("/crawl/CC-MAIN-2024-10/0.jsonl", b'{"text": "other words, and more of them"}\n')
    assert fetched(name) != first and b"other" in fetched(name).read_bytes()


def test_a_name_that_leads_out_of_the_cache_is_refused(store, monkeypatch):
    monkeypatch.setattr(type(store), "isfile", lambda *_: True)
    with pytest.raises(ValueError, match=r"must be a name without `\.\.`"):
        fetched("memory://a/../../../../b")


def test_token_files_from_a_store_into_a_store(tokenizer_file, tmp_path, store):
    pipeline = TokensPipeline(str(tokenizer_file), heldout=0.3, shard_bytes=1)
    process(pipeline, [str(file) for file in expand_inputs(["memory://crawl"])], tmp_path / "here", LocalExecutor(0))
    store.pipe("/tokens/train/old.offsets.npy", b"of an earlier run")
    process(pipeline, ["memory://crawl"], "memory://tokens", LocalExecutor(0))
    for kind in ("train", "heldout"):
        there = token_sources(f"memory://tokens/{kind}", tokenizer=tokenizer_file)
        here = token_sources(tmp_path / "here" / kind)
        assert read_all(there) == read_all(here) and list(there) == ["en-webpages"]
        assert [source.manifest for source in there.values()] == [source.manifest for source in here.values()]
        ids = [there["en-webpages"].document_id(number) for number in range(len(here["en-webpages"]))]
        assert ids == [here["en-webpages"].document_id(number) for number in range(len(ids))]
    report = json.loads(store.cat("/tokens/tokens.json"))
    assert report["inputs"] == ["memory://crawl"]
    assert not [name for name in store.find("/tokens") if "_shards" in name]
    assert (work_folder("memory://tokens") / "_shards").is_dir(), "a run that was killed resumes there"
    name = next(name for name in store.find("/tokens/train") if name.endswith(".bin"))
    store.pipe(name, store.cat(name)[:-2])
    with pytest.raises(ValueError, match=r"memory:.*\.bin holds \d+ tokens where its card says"):
        TokenSource("memory://tokens/train/en-webpages")
    with pytest.raises(FileNotFoundError, match=r"memory://tokens/train/zh is not a token file"):
        TokenSource("memory://tokens/train/zh")
