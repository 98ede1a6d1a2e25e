"""Extraction of main text: quality against gold texts, and pages a second.

    python bench_extraction.py FOLDER     # a copy of scrapinghub/article-extraction-benchmark: html/*.html.gz,
    ground-truth.json(.gz)

F1, precision and recall as that benchmark defines them: over runs of four words, counted with repetition, mean over
pages. "trafilatura (bare)" is the library called on the bytes with its own defaults, what this package must not fall
below.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from internlm2_data.web.charset import decode
from internlm2_data.web.extract import EXTRACTORS, Extractor

TOKEN = re.compile(r"\w+", re.UNICODE)


def shingles(text: str, length: int = 4) -> Counter[tuple[str, ...]]:
    """Runs of four words with their numbers."""
    words = TOKEN.findall(text)
    return Counter(
        tuple(words[max(0, i) : i + length]) for i in range(min(0, len(words) - length), len(words) - length + 1)
    )


def figures(predicted: str, gold: str) -> tuple[float, float]:
    """Precision and recall of one page."""
    ours, truth = shingles(predicted), shingles(gold)
    both = sum((ours & truth).values())
    precision = both / sum(ours.values()) if ours else float(not truth)
    return precision, both / sum(truth.values()) if truth else float(not ours)


def bare(data: bytes) -> str:
    """Trafilatura with nothing of this package around it."""
    import trafilatura

    return trafilatura.extract(data, include_comments=False) or ""


def extracted(extractor: Extractor, data: bytes) -> str:
    """What an extractor of this package finds."""
    return extractor.extract(decode(data)[0], "")


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1])
    gold_file = next(iter(sorted(folder.glob("ground-truth.json*"))))
    opened = gzip.open if gold_file.suffix == ".gz" else open
    gold = json.loads(opened(gold_file, "rb").read())
    pages = {name: gzip.decompress(next(folder.rglob(f"{name}.html.gz")).read_bytes()) for name in gold}
    runs: dict[str, Callable[[bytes], str]] = {"trafilatura (bare)": bare}
    for name, make in EXTRACTORS.items():
        runs[name] = partial(extracted, make())
    print(f"{'extractor':<20} {'F1':>6} {'precision':>9} {'recall':>6} {'pages/s':>8}")
    for name, run in runs.items():
        run(next(iter(pages.values())))
        began = time.process_time()
        texts = {page: run(data) for page, data in pages.items()}
        seconds = time.process_time() - began
        found = [figures(texts[page], gold[page]["articleBody"]) for page in gold]
        precision, recall = (sum(column) / len(found) for column in zip(*found, strict=True))
        f1 = 2 * precision * recall / (precision + recall)
        print(f"{name:<20} {f1:6.3f} {precision:9.3f} {recall:6.3f} {len(pages) / seconds:8.1f}", flush=True)


if __name__ == "__main__":
    main()
