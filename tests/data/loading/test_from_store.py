"""Training from token files in a store: the same rows, a small share of the bytes, and a bounded cache."""

import http.server
import shutil
import threading
from functools import partial
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from internlm2_data.loading import PackedBatches, token_sources
from internlm2_data.stores import BlockCache, StoreError, blocks, store_file

from tests.data.counted_store import CountedStore, noted

BLOCK_BYTES = 1 << 10


@pytest.fixture
def folders(counted, numbered, tmp_path):
    """Two token files here, and the name of their copies in the store."""
    numbered(600, 0, "tokens/en")
    numbered(200, 1, "tokens/zh", base=100_000)
    shutil.copytree(tmp_path / "tokens", counted / "tokens")
    return tmp_path / "tokens", "counted://tokens"


def batches(tokens, **settings):
    sources = token_sources(tokens, blocks=BlockCache(block_bytes=BLOCK_BYTES, **settings))
    return PackedBatches(sources, context=32, batch_rows=12, seed=7, weights={"en": 3, "zh": 1})


def rows(batches, count=20, workers=0):
    return [batch["input_ids"].tolist() for batch in islice(batches.loader(0, 1, workers), count)]


def bytes_read():
    return sum(note["bytes"] for note in noted("read", ".bin"))


@pytest.mark.parametrize(("workers", "limit_bytes"), [(2, 1 << 30), (0, 8 * BLOCK_BYTES)])
def test_rows_are_those_of_files_here(folders, workers, limit_bytes):
    here, there = folders
    assert rows(batches(there, limit_bytes=limit_bytes), workers=workers) == rows(batches(here))


def test_a_few_batches_read_a_small_share(counted, numbered, tmp_path):
    numbered(20_000, 0, "tokens/en", low=20, high=40)
    shutil.copytree(tmp_path / "tokens", counted / "tokens")
    here, there = (
        PackedBatches(token_sources(folder, blocks=BlockCache(block_bytes=BLOCK_BYTES)), 32, 8, seed=1)
        for folder in (tmp_path / "tokens", "counted://tokens")
    )
    assert rows(there, 3) == rows(here, 3)
    size = (counted / "tokens/en.bin").stat().st_size
    assert 0 < bytes_read() < size / 20
    assert not noted("got", ".bin"), "the file is never copied whole"


def test_a_restart_and_other_processes_read_nothing_again(folders):
    _, there = folders
    first = rows(batches(there))
    before = bytes_read()
    assert rows(batches(there)) == first
    assert rows(batches(there), workers=2) == first
    assert bytes_read() == before


def test_the_cache_is_bounded(folders, tmp_path, monkeypatch):
    _, there = folders
    monkeypatch.setattr(blocks, "REQUESTS", 1)
    CountedStore.watched = tmp_path / "blocks"
    limit = 8 * BLOCK_BYTES
    rows(batches(there, limit_bytes=limit, folder=tmp_path / "blocks"))
    held = [note["held"] for note in noted("read", ".bin")]
    assert len(held) > 40 and max(held) <= limit and held[-1] > limit / 2
    files = [file for file in (tmp_path / "blocks").rglob("*") if file.is_file()]
    assert len(files) == 8 and not [file for file in files if file.suffix == ".part"]


def test_what_was_not_read_for_the_longest_time_goes(counted, tmp_path):
    (counted / "a.bin").write_bytes(bytes(range(40)))
    file, cache = store_file("counted://a.bin"), BlockCache(limit_bytes=30, block_bytes=10, folder=tmp_path / "blocks")
    for start in (0, 10, 20, 0, 30, 0):
        assert cache.read(file, start, start + 10) == bytes(range(start, start + 10))
    assert len(noted("read")) == 4, "block 0 was read again when block 3 came, so block 1 went"
    cache.read(file, 10, 20)
    assert len(noted("read")) == 5


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (9, 11), (5, 37), (30, 40), (35, 37), (12, 12)])
def test_any_range(counted, tmp_path, start, stop):
    (counted / "a.bin").write_bytes(bytes(range(37)))
    file, cache = store_file("counted://a.bin"), BlockCache(limit_bytes=30, block_bytes=10, folder=tmp_path / "blocks")
    for _ in range(2):
        assert cache.read(file, start, min(stop, 37)) == bytes(range(start, min(stop, 37)))


def test_neighbouring_blocks_come_in_one_request(counted, tmp_path):
    (counted / "a.bin").write_bytes(bytes(range(100)))
    file, cache = store_file("counted://a.bin"), BlockCache(block_bytes=10, folder=tmp_path / "blocks")
    cache.read(file, 45, 46)
    assert cache.read(file, 15, 75) == bytes(range(15, 75))
    assert [note["bytes"] for note in noted("read")] == [10, 70]
    assert cache.read(file, 0, 100) == bytes(range(100))


def test_a_batch_asks_for_several_blocks_at_the_same_time(folders, monkeypatch):
    read, calls, second = CountedStore.cat_file, count(), threading.Event()

    def waits(self, path, **settings):
        if next(calls):
            second.set()
        assert second.wait(20), "nobody else asks"
        return read(self, path, **settings)

    here, there = folders
    monkeypatch.setattr(CountedStore, "cat_file", waits)
    assert rows(batches(there), 1) == rows(batches(here), 1)


def test_a_file_that_changed_is_read_again(folders):
    here, there = folders
    before = rows(batches(there))
    data = np.fromfile(CountedStore.root / "tokens/en.bin", "<u4")
    (data + 1).tofile(CountedStore.root / "tokens/en.bin")
    (data + 1).tofile(here / "en.bin")
    assert rows(batches(there)) == rows(batches(here)) != before


def test_a_read_that_fails_is_tried_again_and_then_says_so(folders):
    here, there = folders
    from_store = batches(there)
    expected = rows(batches(here), 2)
    CountedStore.failures = {"en.bin": 3, "zh.bin": 2}
    assert rows(from_store, 2) == expected
    CountedStore.failures = {"en.bin": 10**6}
    words = r"counted://tokens/en\.bin failed 4 times, the last with RuntimeError: The line is dead\."
    with pytest.raises(StoreError, match=words):
        rows(from_store)


def test_block_sizes_are_checked():
    with pytest.raises(ValueError, match=r"block_bytes=11 must be between 1 and limit_bytes=10\."):
        BlockCache(limit_bytes=10, block_bytes=11)


class Ranges(http.server.SimpleHTTPRequestHandler):
    """A server of files that gives parts of them, as stores do."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = self.headers.get("Range")
        if not asked:
            super().do_GET()
            return
        start, stop = map(int, asked.removeprefix("bytes=").split("-"))
        with Path(self.translate_path(self.path)).open("rb") as file:
            file.seek(start)
            data = file.read(stop - start + 1)
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Nothing."""


def test_over_http_and_in_forked_workers(folders):
    """The stores of fsspec have threads, which no fork takes along."""
    pytest.importorskip("aiohttp")
    here, _ = folders
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(here)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        there = batches(f"http://127.0.0.1:{server.server_port}")
        assert rows(there, 4) == rows(there, 8, workers=2)[:4] == rows(batches(here), 4)
    finally:
        server.shutdown()
        server.server_close()
