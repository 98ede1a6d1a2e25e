"""The whole tokens stage against `encode_batch` of Hugging Face's tokenizers alone, on the same texts and one core.

    OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
        python tests/benchmarks/data/bench_tokens.py [--megabytes 16] [--size 32768] [--rounds 5] [--tokenizer FILE]

The text is Python source of the standard library and of what is installed. Without --tokenizer a vocabulary is trained on a
part of it. The stage reads JSON lines, encodes, hashes and writes token files. Once with gigatoken, of whose texts one of 64 is
encoded by both, and once without. Both must leave the same bytes. Seconds are of the CPU.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from unittest.mock import patch

from internlm2_data.executor import LocalExecutor
from internlm2_data.pipelines import TokensPipeline
from internlm2_data.vocabulary import train_vocabulary
from tokenizers import Tokenizer

BATCH = 64
NO_FAST = patch("internlm2_data.tokens.encoding.fast_encoder", lambda *_: None)


def documents(megabytes: float) -> list[str]:
    texts, room = [], int(megabytes * 2**20)
    for folder in dict.fromkeys(path for path in sys.path if path.endswith(("packages", f"3.{sys.version_info[1]}"))):
        for file in sorted(Path(folder).rglob("*.py")):
            if room <= 0:
                return texts
            text = file.read_text("utf-8", errors="replace")
            texts.append(text)
            room -= len(text)
    return texts


def token_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "train").iterdir()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=16)
    parser.add_argument("--size", type=int, default=32768)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    texts = documents(given.megabytes)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [json.dumps({"text": text, "language": "python", "type": "code"}) + "\n" for text in texts]
        (folder / "a.jsonl").write_text("".join(lines))
        if given.tokenizer is None:
            (folder / "part.jsonl").write_text("".join(lines[:: max(1, int(megabytes // 4))]))
            train_vocabulary([str(folder / "part.jsonl")], folder, size=given.size)
        tokenizer = given.tokenizer or folder / "tokenizer.json"
        theirs = Tokenizer.from_file(str(tokenizer))
        number = 0

        def stage() -> None:
            nonlocal number
            number += 1
            TokensPipeline(str(tokenizer), heldout=0.0).run(
                [str(folder / "a.jsonl")], folder / str(number), LocalExecutor(0)
            )

        def stage_without() -> None:
            with NO_FAST:
                stage()

        def encode_batch() -> None:
            for start in range(0, len(texts), BATCH):
                theirs.encode_batch(texts[start : start + BATCH], add_special_tokens=False)

        cases: dict[str, Callable[[], None]] = {
            "encode_batch": encode_batch,
            "stage": stage,
            "stage without": stage_without,
        }
        seconds: dict[str, list[float]] = {case: [] for case in cases}
        for _ in range(given.rounds):
            for case, run in cases.items():
                start = time.process_time()
                run()
                seconds[case].append(time.process_time() - start)
        assert token_files(folder / "1") == token_files(folder / "2"), "the files differ"
    base = median(seconds["encode_batch"])
    found = {case: round(base / median(times), 2) for case, times in seconds.items()}
    print(
        f"{megabytes:.1f} MB, {len(texts):,} documents, encode_batch {megabytes / base:.2f} MB a CPU second; speed over it:"
    )
    print(json.dumps(found))
    if given.json:
        given.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
