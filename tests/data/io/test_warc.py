import gzip
import io

import pytest
from internlm2_data.io import Fault, Item, Passed, read_items
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter


def records(pages, gz):
    """Bytes of each record of a WARC, written by warcio."""
    made = []
    for number, (kind, status, body) in enumerate(pages):
        out = io.BytesIO()
        writer = WARCWriter(out, gzip=gz)
        headers = StatusAndHeaders(status, [("Content-Type", f"{kind}; charset=gbk")], protocol="HTTP/1.1")
        writer.write_record(
            writer.create_warc_record(
                f"http://example.org/{number}", "response", payload=io.BytesIO(body), http_headers=headers
            )
        )
        made.append(out.getvalue())
    return made


PAGES = [("text/html", "200 OK", b"<p>page %d</p>" % i) for i in range(5)]


def read(path):
    found = list(read_items(path))
    return [x for x in found if isinstance(x, Item)], [x for x in found if isinstance(x, Fault)]


@pytest.mark.parametrize("gz", [False, True])
def test_pages_with_url_charset_and_date(tmp_path, gz):
    path = tmp_path / ("a.warc.gz" if gz else "a.warc")
    path.write_bytes(b"".join(records(PAGES, gz)))
    items, faults = read(path)
    assert not faults
    assert [item.content for item in items] == [body for _, _, body in PAGES]
    assert items[3].record["url"] == "http://example.org/3"
    assert items[3].charset == "gbk"
    assert items[3].record["date"].startswith("20")
    assert items[3].record["meta"]["file"] == path.name


def test_what_is_no_page_is_passed_over(tmp_path):
    pages = [("image/png", "200 OK", b"x"), ("text/html", "404 Not Found", b"x"), ("text/html", "200 OK", b"good")]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(records(pages, True)))
    found = list(read_items(tmp_path / "a.warc.gz"))
    assert [x.content for x in found if isinstance(x, Item)] == [b"good"]
    reasons = [x.reason for x in found if isinstance(x, Passed)]
    assert reasons == ["HTTP content of type image/png", "HTTP status 404"]


@pytest.mark.parametrize("attempt", range(3))  # records hold random ids, and so does the damage
@pytest.mark.parametrize("damage", ["truncated", "garbage", "cut", "bit"])
def test_a_damaged_member_costs_itself_alone(tmp_path, damage, attempt):
    made = records(PAGES, True)
    bad = {
        "truncated": made[2][:-20],
        "garbage": b"garbage " * 5 + made[2][60:],
        "cut": made[2][: len(made[2]) // 2],
        "bit": made[2][:80] + bytes([made[2][80] ^ 16]) + made[2][81:],
    }
    made[2] = bad[damage]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(made))
    items, faults = read(path)
    assert [item.content for item in items] == [b"<p>page %d</p>" % i for i in (0, 1, 3, 4)]
    assert [(fault.file, fault.offset) for fault in faults] == [(str(path), sum(map(len, made[:2])))]


def test_the_end_may_be_missing(tmp_path):
    made = records(PAGES, True)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(made)[:-30])
    items, (fault,) = read(path)
    assert len(items) == 4
    assert fault.offset == sum(map(len, made[:4])) and "cut off" in fault.what


def test_wet(tmp_path):
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=True)
    writer.write_record(
        writer.create_warc_record(
            "http://example.org/a",
            "conversion",
            payload=io.BytesIO("正文".encode()),
            warc_content_type="text/plain",
        )
    )
    path = tmp_path / "a.warc.wet.gz"
    path.write_bytes(out.getvalue())
    ((item,), faults) = read(path)
    assert item.content.decode() == "正文" and not item.html and not faults


def test_a_page_that_unpacks_beyond_measure_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr("internlm2_data.io.warc.MAX_RECORD_BYTES", 10_000)
    bomb = gzip.compress(b"0" * 10_000_000)
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=True)
    headers = StatusAndHeaders(
        "200 OK", [("Content-Type", "text/html"), ("Content-Encoding", "gzip")], protocol="HTTP/1.1"
    )
    writer.write_record(
        writer.create_warc_record("http://example.org/", "response", payload=io.BytesIO(bomb), http_headers=headers)
    )
    path = tmp_path / "a.warc.gz"
    path.write_bytes(out.getvalue())
    items, (fault,) = read(path)
    assert not items and "more than 10000 bytes" in fault.what


def test_a_file_compressed_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("internlm2_data.io.members.MAX_HELD", 1000)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(b"".join(records(PAGES, False))))
    items, faults = read(path)
    assert [item.content for item in items] == [body for _, _, body in PAGES] and not faults


@pytest.mark.parametrize("held", [100, 1 << 20])
@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_members_that_do_not_end_with_records(tmp_path, monkeypatch, size, held):
    """As bgzip and parallel compressors write them: no member begins where a record does."""
    monkeypatch.setattr("internlm2_data.io.members.MAX_HELD", held)
    whole = b"".join(records(PAGES, False))
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(gzip.compress(whole[start : start + size]) for start in range(0, len(whole), size)))
    items, faults = read(path)
    assert [item.content for item in items] == [body for _, _, body in PAGES] and not faults
    offsets = [item.record["meta"]["offset"] for item in items]
    assert offsets == sorted(offsets) and offsets[-1] > 0


def test_a_record_beyond_measure_costs_itself_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("internlm2_data.io.warc.MAX_RECORD_BYTES", 5000)
    monkeypatch.setattr("internlm2_data.io.warc.PIECE_BYTES", 700)
    pages = [*PAGES[:2], ("text/html", "200 OK", b"x" * 6000), *PAGES[3:]]
    for gz in (False, True):
        path = tmp_path / ("a.warc" + ".gz" * gz)
        path.write_bytes(b"".join(records(pages, gz)))
        items, (fault,) = read(path)
        assert [item.content for item in items] == [PAGES[n][2] for n in (0, 1, 3, 4)]
        assert "more than 5000 bytes" in fault.what


def response(header, body, length=None):
    """A record with any HTTP header, written by hand."""
    http = b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n" + body
    about = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a/b\r\nWARC-Date: 2021-01-01T00:00:00Z\r\n"
    about += b"Content-Type: application/http; msgtype=response\r\n"
    return about + b"Content-Length: %d\r\n\r\n" % (length or len(http)) + http + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("header", "body", "content", "charset"),
    [
        (b"Content-Type: text/html charset=gbk", b"<p>a</p>", b"<p>a</p>", "gbk"),
        (b"Content-Type: TEXT/HTML;charset='utf-8'", b"<p>a</p>", b"<p>a</p>", "utf-8"),
        (b"Content-Type: text/html\r\nTransfer-Encoding: chunked", b"<p>whole</p>", b"<p>whole</p>", ""),
        (b"Content-Type: text/html\r\nTransfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n", b"abc", ""),
        (b"X: y", b"<p>a</p>", b"<p>a</p>", ""),
    ],
)
def test_headers_of_the_wild(tmp_path, header, body, content, charset):
    (tmp_path / "a.warc").write_bytes(response(header, body))
    ((item,), faults) = read(tmp_path / "a.warc")
    assert (item.content, item.charset, faults) == (content, charset, [])


@pytest.mark.parametrize("version", [b"0.17", b"0.18", b"1.0", b"1.1"])
def test_versions_of_the_format(tmp_path, version):
    """Archives of 2008 are of drafts of the standard."""
    record = response(b"Content-Type: text/html", b"<p>a</p>").replace(b"WARC/1.0", b"WARC/" + version)
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(record) + gzip.compress(record))
    items, faults = read(tmp_path / "a.warc.gz")
    assert ([item.content for item in items], faults) == ([b"<p>a</p>"] * 2, [])


@pytest.mark.parametrize("piece", [1 << 20, 64, 17])
def test_what_lies_between_records_of_a_plain_file_costs_no_record(tmp_path, monkeypatch, piece):
    monkeypatch.setattr("internlm2_data.io.warc.PIECE_BYTES", piece)
    made = records(PAGES, False)
    short = response(b"Content-Type: text/html", b"<p>too short</p>", length=5000)
    path = tmp_path / "a.warc"
    path.write_bytes(made[0] + b"garbage\0" * 30 + made[1] + short + made[2] + b"\n\n\n" + made[3] + b"end")
    items, faults = read(path)
    assert [item.content for item in items] == [body for _, _, body in PAGES[:4]]
    begin = len(made[0])
    ends = [begin, begin + 240 + len(made[1]), len(path.read_bytes()) - 3]
    assert [fault.offset for fault in faults] == ends
    assert "another begins before its end" in faults[1].what


def test_damage_in_a_plain_file(tmp_path):
    made = records(PAGES, False)
    made[2] = made[2][:100] + b"\0" * 50
    path = tmp_path / "a.warc"
    path.write_bytes(b"".join(made))
    items, (fault,) = read(path)
    assert [item.content for item in items] == [b"<p>page %d</p>" % i for i in (0, 1, 3, 4)]
    assert fault.offset == len(made[0] + made[1]) and "header" in fault.what


def test_no_warc_at_all(tmp_path):
    for name, data in (
        ("a.warc.gz", b"only text"),
        ("b.warc", b"only text"),
        ("c.warc.gz", gzip.compress(b"only text")),
    ):
        (tmp_path / name).write_bytes(data)
        items, faults = read(tmp_path / name)
        assert not items and len(faults) == 1, name
