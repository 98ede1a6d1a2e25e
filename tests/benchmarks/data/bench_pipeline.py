"""The whole pipeline against datatrove's comparable one, on the same documents and one core.

    python bench_pipeline.py [--documents FOLDER] [--warc FOLDER] [--rounds 3] [--peers-path DIR] --warm-up FILE

"After extraction": documents as JSONL through normalisation, the Gopher, C4 and FineWeb rules (here with
RefinedWeb's lines and the report's families too) and MinHash signatures. "With extraction": WARCs through
Trafilatura and the same. CPU time of one process. Both read JSONL or WARC and write compressed JSONL. Without
--documents the planted corpus's text would do no rule justice, so documents are named by you: what `internlm2
process pipeline=web` left in `format/`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any


def ours(inputs: list[str], folder: Path, extract: bool) -> int:
    """This package: all stages but the classifiers."""
    from internlm2_data.executor import LocalExecutor
    from internlm2_data.pipelines import WebPipeline
    from internlm2_data.rules import CleanLines, Normalise, TableRules
    from internlm2_data.safety import WordList
    from internlm2_data.web import Format, extractor

    pipeline = WebPipeline(
        Format(extractor("trafilatura")),
        {"normalise": Normalise(), "lines": CleanLines(), "thresholds": TableRules()},
        safe={"words": WordList()},
    )
    pipeline.run(inputs, folder, LocalExecutor(0))
    funnel = json.loads((folder / "funnel.json").read_text())
    return sum(funnel["stages"][0]["documents"].values())


def datatrove(inputs: list[str], folder: Path, extract: bool) -> int:
    """datatrove 0.10: language, Gopher, C4 and FineWeb filters, then all four steps of MinHash."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.readers import JsonlReader, WarcReader
    from datatrove.pipeline.writers import JsonlWriter

    source = str(Path(inputs[0]).parent)
    reader = WarcReader(source, glob_pattern="*.warc.gz") if extract else JsonlReader(source, glob_pattern="*.jsonl")
    steps: list[Any] = [reader, *([Trafilatura(timeout=10)] if extract else [])]
    steps += [
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
        JsonlWriter(str(folder / "clean")),
    ]
    config = MinhashConfig(num_buckets=14, hashes_per_bucket=8)
    clean = JsonlReader(str(folder / "clean"))
    signatures, buckets, removed = (str(folder / name) for name in ("signatures", "buckets", "removed"))
    stages = [
        steps,
        [clean, MinhashDedupSignature(signatures, config=config)],
        [MinhashDedupBuckets(signatures, buckets, config=config)],
        [MinhashDedupCluster(buckets, removed, config=config)],
        [clean, MinhashDedupFilter(removed), JsonlWriter(str(folder / "out"))],
    ]
    for place, stage in enumerate(stages):
        tasks = config.num_buckets if place == 2 else 1
        LocalPipelineExecutor(stage, tasks=tasks, workers=1, logging_dir=str(folder / f"log{place}")).run()
    return -1


def measure(tool: str, inputs: list[str], extract: bool, warm_up: str) -> dict[str, Any]:
    """Run one tool in this process."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    with tempfile.TemporaryDirectory() as warm:
        # Compilation and imports happen once a machine, not once a document.
        sample = Path(warm) / "in" / "a.jsonl"
        sample.parent.mkdir()
        with Path(warm_up).open(encoding="utf-8") as lines:
            sample.write_text("".join(islice(lines, 300)), "utf-8")
        globals()[tool]([str(sample)], Path(warm) / "out", False)
    with tempfile.TemporaryDirectory() as folder:
        began = os.times()
        globals()[tool](inputs, Path(folder), extract)
        ended = os.times()
    # Children count too: datatrove forks its tasks and its extractor.
    return {"seconds": sum(ended[:4]) - sum(began[:4])}


def seconds(tool: str, name: str, folder: Path, given: argparse.Namespace) -> float:
    """CPU seconds of one tool in a process of its own."""
    words = [f"--{name}", str(folder), "--warm-up", given.warm_up, "--one", tool, name]
    path = {"PYTHONPATH": given.peers_path} if tool != "ours" and given.peers_path else {}
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | path
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{name} {tool} did not run: {done.stderr.strip().splitlines()[-1]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])


def main() -> None:
    """Run both tools on both inputs, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, help="folder of JSONL files")
    parser.add_argument("--warc", type=Path, help="folder of WARC files")
    parser.add_argument("--tools", nargs="+", default=["ours", "datatrove"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers-path", default="", help="folder of packages that only peers see")
    parser.add_argument("--warm-up", required=True, help="JSONL file of which 300 documents are run before timing")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    for name, folder, pattern in (("documents", given.documents, "*.jsonl"), ("warc", given.warc, "*.warc.gz")):
        if folder is None:
            continue
        inputs = [str(path) for path in sorted(folder.glob(pattern))]
        if given.one:
            if given.one[1] == name:
                print(json.dumps(measure(given.one[0], inputs, name == "warc", given.warm_up)))
            continue
        count = len(count_documents(inputs)) if name == "documents" else 0
        taken: dict[str, list[float]] = {tool: [] for tool in given.tools}
        for _ in range(given.rounds):
            for tool in given.tools:
                taken[tool].append(seconds(tool, name, folder, given))
        for tool, times in taken.items():
            rate = f"{count / median(times):8.0f} documents/s" if count else ""
            print(
                f"{name:<10} {tool:<10} {median(times):8.1f} CPU s {rate} (of {', '.join(f'{t:.1f}' for t in times)})"
            )
        if len(taken) == 2:
            ours, theirs = taken.values()
            ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
            print(f"{name:<10} {median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def count_documents(inputs: list[str]) -> list[str]:
    """Lines of all inputs."""
    return [line for path in inputs for line in Path(path).open(encoding="utf-8")]


if __name__ == "__main__":
    main()
