"""From WARC records to a training row and back, by the command."""

import json
from io import BytesIO
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from tests.command import internlm2

PAGE = "<html><body><article><p>{}</p></article></body></html>"


def write_warc(path: Path, pages: int) -> dict[str, int]:
    """A WARC of pages. Returns where the record of each URL begins."""
    offsets = {}
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for number in range(pages):
            url, text = f"http://example.org/{number}", f"Page {number} tells of boats and of the harbour. " * 5
            offsets[url] = file.tell()
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            body = BytesIO(PAGE.format(text).encode())
            writer.write_record(writer.create_warc_record(url, "response", payload=body, http_headers=headers))
    return offsets


def test_rows_lead_back_to_records_of_a_warc_and_documents_to_steps(tmp_path: Path, tokenizer_file: Path) -> None:
    from internlm2_conf.continuing import check_continuing
    from internlm2_conf.recipes import Recipes

    offsets = write_warc(tmp_path / "CC-MAIN-2024-10-a.warc.gz", 3)
    web = ["process", f"inputs=[{tmp_path}/CC-MAIN-2024-10-a.warc.gz]", "output=web", "executor.workers=0"]
    tokens = ["process", "pipeline=tokens", "inputs=[web/format]", "output=tokens", "pipeline.heldout=0"]
    for words in (web, [*tokens, f"pipeline.tokenizer={tokenizer_file}", "executor.workers=0"]):
        done = internlm2(*words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    words = [f"tokens={tmp_path}/tokens/train", f"tokenizer.path={tokenizer_file}", f"output={tmp_path}/run"]
    words += ["phase.context=32", "phase.short_context=32", "phase.batch_rows=2"]
    check_continuing(Recipes().compose("pretrain", words))  # what the command does before it trains
    (tmp_path / "run" / "training.json").write_text('{"steps": 9}')
    done = internlm2("trace", "run=run", "step=2", "as_json=true", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    pieces = json.loads(done.stdout)
    assert {piece["row"] for piece in pieces} == {1, 2}
    for piece in pieces:
        record = piece["record"]
        assert record["meta"]["file"] == "CC-MAIN-2024-10-a.warc.gz" and record["dump"] == "CC-MAIN-2024-10"
        assert record["meta"]["offset"] == offsets[record["url"]] and record["id"] == piece["id"]
    lines = internlm2("trace", "run=run", "step=2", "row=1", folder=tmp_path)
    url = pieces[0]["record"]["url"]
    assert f"    {url}  CC-MAIN-2024-10 CC-MAIN-2024-10-a.warc.gz at byte {offsets[url]:,}\n" in lines.stdout, (
        lines.stderr
    )
    first = pieces[0]
    done = internlm2("trace", "run=run", f"id={first['id']}", "as_json=true", folder=tmp_path)
    assert {"step": 2, "row": first["row"], "source": first["source"]} in json.loads(done.stdout), done.stderr
    both = internlm2("trace", "run=run", "id=ab", "step=2", folder=tmp_path)
    assert both.returncode == 1 and "id=ab or step=2 must be given, and not both" in both.stderr
