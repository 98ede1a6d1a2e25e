"""Pipelines from a store into a store: the bytes of a local run, in the room of the shards in work."""

import gzip
import json
import random

import pytest
from internlm2_data.dedup import Dedup
from internlm2_data.executor import LocalExecutor
from internlm2_data.io import ShardReader
from internlm2_data.jobs import process
from internlm2_data.pipelines import TokensPipeline, WebPipeline
from internlm2_data.rules import Normalise
from internlm2_data.stores import StoreFile
from internlm2_data.stores.outputs import followed, work_folder
from internlm2_data.tokens import TokenSource, token_sources
from internlm2_data.web import Format, extractor

from tests.data.counted_store import CountedStore, noted

FILES, DOCUMENTS, WORDS = 6, 4, 800
HERE = LocalExecutor(0)


def page(rng):
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(WORDS))


def record(url, content):
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + f"<p>{content}</p>".encode()
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(page)}\r\n\r\n"
    return gzip.compress(head.encode() + page + b"\r\n\r\n")


@pytest.fixture
def crawl(counted):
    """A crawl in the store. Its folder is that of the local run."""
    rng, folder = random.Random(0), counted / "crawl" / "CC-MAIN-2024-10"
    folder.mkdir(parents=True)
    for number in range(FILES):
        pages = [(f"http://x/{number}/{i}", page(rng)) for i in range(DOCUMENTS)]
        if number % 2:
            (folder / f"{number}.warc.gz").write_bytes(b"".join(record(*each) for each in pages))
        else:
            lines = [json.dumps({"url": url, "text": text, "language": "en"}) + "\n" for url, text in pages]
            (folder / f"{number}.jsonl").write_text("".join(lines))
    return counted / "crawl"


def web(**settings):
    return WebPipeline(Format(extractor("resiliparse")), {"normalise": Normalise()}, shard_bytes=1, **settings)


def contents(folder):
    """Bytes of all files of an output but those in which places and times are."""
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    return {
        name: file.read_bytes()
        for name, file in files.items()
        if not name.startswith("_shards") and name not in ("funnel.json", "funnel.svg", "tokens.json")
    }


def test_web_gives_the_bytes_of_a_local_run_in_a_small_room(crawl, counted, tmp_path, monkeypatch):
    CountedStore.watched = tmp_path / "machine"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "machine"))
    CountedStore.watched.mkdir()
    process(web(), ["counted://crawl"], "counted://out", HERE)
    process(web(), [str(crawl)], tmp_path / "out", HERE)
    assert contents(counted / "out") == contents(tmp_path / "out")
    stages = json.loads((counted / "out/funnel.json").read_text())["stages"]
    assert [sum(stage["documents"].values()) for stage in stages] == [FILES * DOCUMENTS] * 5
    held = max(note["held"] for kind in ("got", "put") for note in noted(kind))
    shards = [file.stat().st_size for file in (tmp_path / "out").rglob("*.zst")]
    largest_input = max(file.stat().st_size for file in crawl.rglob("*.*"))
    own = sum(file.stat().st_size for file in (tmp_path / "out/_shards").rglob("*") if file.is_file())
    pointers = 400 * len(shards)
    assert held <= largest_input + 2 * max(shards) + own + pointers < sum(shards) / 2
    assert not list(CountedStore.watched.rglob("*.jsonl"))


def test_a_store_that_fails_ends_the_run_which_resumes(crawl, counted, tmp_path):
    CountedStore.failures = {"00002.jsonl.zst": 10**6}
    with pytest.raises(RuntimeError, match=r"stage format failed.*00002\.jsonl\.zst failed 4 times.*line is dead"):
        process(web(), ["counted://crawl"], "counted://out", HERE)
    assert not list((counted / "out").glob("*.json"))
    CountedStore.failures, done = {"00003.jsonl.zst": 3}, noted("put")
    process(web(), ["counted://crawl"], "counted://out", HERE)
    again = {note["file"] for note in noted("put")[len(done) :]} & {note["file"] for note in done}
    assert not again, "what was sent is not sent again"
    process(web(), [str(crawl)], tmp_path / "out", HERE)
    assert contents(counted / "out") == contents(tmp_path / "out")


def test_a_second_run_sends_cards_alone_and_fewer_inputs_leave_nothing_stale(crawl, counted):
    process(web(), ["counted://crawl"], "counted://out", HERE)
    before = len(noted("put")), len(noted("got"))
    process(web(), ["counted://crawl"], "counted://out", HERE)
    assert {note["file"] for note in noted("put")[before[0] :]} == {
        "out/README.md", "out/funnel.json", "out/funnel.svg"
    }  # fmt: skip
    assert len(noted("got")) == before[1]
    left = work_folder("counted://out") / "superseded.jsonl"
    left.write_text("{}")
    process(web(), ["counted://crawl"], "counted://out", HERE)
    left.unlink(missing_ok=True)
    assert (counted / "out/superseded.jsonl").is_file()
    process(web(), ["counted://crawl/*/[01].*"], "counted://out/", HERE)
    assert not (counted / "out/superseded.jsonl").exists()
    assert len(list((counted / "out").rglob("*.zst"))) == 5 * 2 * 2


def test_a_changed_input_is_worked_on_again(crawl, counted):
    process(web(), ["counted://crawl"], "counted://out", HERE)
    before = len(noted("got", "/4.jsonl")), len(noted("got", "/2.jsonl"))
    file = crawl / "CC-MAIN-2024-10/4.jsonl"
    file.write_text(file.read_text().replace("http://x/4/0", "http://x/4/9"))
    process(web(), ["counted://crawl"], "counted://out", HERE)
    assert (len(noted("got", "/4.jsonl")), len(noted("got", "/2.jsonl"))) == (before[0] + 1, before[1])
    urls = [document.url for document in ShardReader(counted / "out/high_quality/00004.jsonl.zst")]
    assert "http://x/4/9" in urls and "http://x/4/0" not in urls


def test_what_the_store_has_lost_is_told(crawl, counted):
    process(web(), ["counted://crawl"], "counted://out", HERE)
    (counted / "out/clean/00001.jsonl.zst").unlink()
    with pytest.raises(FileNotFoundError, match=r"counted://out has lost 1 files .*clean/00001.jsonl.zst.* Delete /"):
        process(web(), ["counted://crawl"], "counted://out", HERE)


def test_what_is_not_of_an_output_stays(crawl, counted):
    others = [counted / "out" / name for name in ("mine.json", "other/a.json", "other/b.jsonl.zst")]
    (counted / "out/other").mkdir(parents=True)
    for file in others:
        file.write_text("mine")
    process(web(), ["counted://crawl/*/0.jsonl"], "counted://out", HERE)
    assert [file.read_text() for file in others] == ["mine"] * 3


def test_an_earlier_run_in_a_store(crawl, counted):
    process(web(), ["counted://crawl/*/[01].*"], "counted://first", HERE)
    later = web(dedup=Dedup(earlier=["counted://first"]))
    process(later, ["counted://crawl/*/[012].*"], "counted://later", HERE)
    stages = {stage["stage"]: stage for stage in json.loads((counted / "later/funnel.json").read_text())["stages"]}
    assert sum(stages["dedup"]["documents"].values()) == DOCUMENTS


def test_token_files(crawl, counted, tokenizer_file, tmp_path, monkeypatch):
    put = CountedStore.put_file
    seen = []

    def watched(self, lpath, rpath, **settings):
        if rpath.endswith(".bin"):
            seen.append(sorted(file.name for file in (counted / "tokens").rglob("*.json")))
        put(self, lpath, rpath, **settings)

    monkeypatch.setattr(CountedStore, "put_file", watched)
    pipeline = TokensPipeline(str(tokenizer_file), heldout=0.3, shard_bytes=1)
    files = ["counted://crawl/*/*.jsonl"]
    (counted / "tokens/train").mkdir(parents=True)
    for name in ("train/old.offsets.npy", "train/old.json"):
        (counted / "tokens" / name).write_bytes(b"of an earlier run")
    process(pipeline, files, "counted://tokens", HERE)
    assert not list((counted / "tokens").rglob("old*"))
    process(pipeline, [f"{crawl}/*/*.jsonl"], tmp_path / "tokens", HERE)
    assert contents(counted / "tokens") == contents(tmp_path / "tokens")
    assert len(list((counted / "tokens/train").glob("*.bin"))) == FILES // 2
    there, here = (token_sources(folder) for folder in ("counted://tokens/train", tmp_path / "tokens/train"))
    for name, source in here.items():
        assert [source.read(n).tolist() for n in range(len(source))] == [
            there[name].read(n).tolist() for n in range(len(source))
        ]
        assert there[name].manifest == source.manifest
        assert there[name].document_id(1) == source.document_id(1)
    assert isinstance(followed(work_folder("counted://tokens") / "train/en-webpages.00000.bin"), StoreFile)
    process(pipeline, ["counted://crawl/*/[02].jsonl"], "counted://tokens", HERE)
    (crawl / "CC-MAIN-2024-10/2.jsonl").write_text('{"text": "another text", "language": "en"}\n')
    process(pipeline, files, "counted://tokens", HERE)
    assert seen == [[]] * len(seen), "no card tells of tokens that are being replaced"
    assert "counted://crawl" in json.loads((counted / "tokens/tokens.json").read_text())["inputs"][0]


def test_token_files_that_contradict_their_cards(crawl, counted, tokenizer_file):
    process(TokensPipeline(str(tokenizer_file), heldout=0), ["counted://crawl"], "counted://tokens", HERE)
    file = next((counted / "tokens/train").glob("*.bin"))
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"counted:.*\.bin holds \d+ tokens where its card says"):
        TokenSource("counted://tokens/train/en-webpages")
    with pytest.raises(FileNotFoundError, match=r"counted://tokens/train/zh is not a token file"):
        TokenSource("counted://tokens/train/zh")
    with pytest.raises(FileNotFoundError, match=r"counted://nothing holds no token files"):
        token_sources("counted://nothing")


def test_worker_processes(crawl, tokenizer_file, tmp_path):
    """``file://`` is a store that a spawned process knows too."""
    pipeline = TokensPipeline(str(tokenizer_file), shard_bytes=1)
    process(pipeline, [f"file://{crawl}/*/*.jsonl"], f"file://{tmp_path}/there", LocalExecutor(1))
    process(pipeline, [f"{crawl}/*/*.jsonl"], tmp_path / "here", HERE)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
