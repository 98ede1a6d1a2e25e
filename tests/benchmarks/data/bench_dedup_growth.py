"""Memory and time of the Dedup stage as the number of documents grows: python bench_dedup_growth.py [COUNTS...]

Documents of about 100 words, a fifth of them lightly edited copies, written to shards of 100,000; each count in a
process of its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from internlm2_data.dedup import Dedup
from internlm2_data.document import Document
from internlm2_data.executor import LocalExecutor
from internlm2_data.io import ShardWriter
from internlm2_data.stages.run import StageRun, input_shards
from planted import Writer

SHARD = 100_000


def write(folder: Path, count: int) -> int:
    """Write the shards; returns bytes of text."""
    rng = np.random.default_rng(0)
    writer, total = Writer("en", rng), 0
    base = writer.draw(100)
    for start in range(0, count, SHARD):
        with ShardWriter(folder / f"{start // SHARD:05d}.jsonl.zst") as out:
            for number in range(start, min(count, start + SHARD)):
                if rng.random() < 0.2:
                    words = writer.edited(base, 0.02)
                else:
                    words = base = writer.draw(100)
                document = Document(writer.text(words), language="en", type="prose", url=str(number))
                total += document.num_bytes
                out.add(document)
    return total


def run(folder: Path) -> dict[str, float]:
    """Run the stage; peak memory of this process, in MB, and CPU seconds."""
    with tempfile.TemporaryDirectory() as out:
        began = time.process_time()
        stage = StageRun(Path(out), LocalExecutor(0))
        Dedup().run(stage, input_shards(sorted(folder.iterdir()), shard_bytes=1))
        kept = sum(stage.reports[0]["documents"].values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak_mb": peak, "seconds": time.process_time() - began, "kept": kept}


def main() -> None:
    """Print a line a count."""
    if len(sys.argv) == 3 and sys.argv[1] == "--one":
        print(json.dumps(run(Path(sys.argv[2]))))
        return
    print(f"{'documents':>10} {'MB':>8} {'peak MB':>8} {'CPU s':>8} {'kept':>10}")
    for count in map(int, sys.argv[1:] or ["50000", "100000", "300000", "1000000"]):
        with tempfile.TemporaryDirectory() as folder:
            size = write(Path(folder), count)
            done = subprocess.run(
                [sys.executable, __file__, "--one", folder], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout.strip().splitlines()[-1])
        print(
            f"{count:>10} {size / 1e6:>8.1f} {found['peak_mb']:>8.0f} {found['seconds']:>8.1f} {found['kept']:>10.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
