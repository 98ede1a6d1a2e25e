"""How well the perplexity filter tells texts from piles: python bench_perplexity.py DATA MODEL [--documents 30] [--json FILE]

DATA holds `pretrain/` (wiki_demo, zh_modern). MODEL is a model folder: SmolLM2-135M as tests/benchmarks/align/small_model.py
writes it, or the miniature's own. Of each language, documents of one kind each are made of articles of their own: *whole* (one text),
*joined* (the first half of one text, the second half of another) and *middle* (a text whose middle third is of another
one, within about the same number of bytes). AUC is the probability that a whole text has a larger value than a piled one,
for the least gain of a document's pairs and for their mean. Ties count half.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path
from statistics import mean

from internlm2_core.evaluation import ContinuationLoss
from internlm2_data.long import GainSieve

KINDS = ("whole", "joined", "middle")


def articles(data: Path, language: str, size: int) -> list[str]:
    """Texts of at least `size` characters, one an article, their first lines left out."""
    if language == "en":
        texts = gzip.decompress((data / "wiki_demo.txt.gz").read_bytes()).decode().split("\n")
    else:
        lines = gzip.decompress((data / "zh_modern_NiuTrans.jsonl.gz").read_bytes()).splitlines()
        texts = [json.loads(line)["text"] for line in lines]
    return [text[size // 4 : size // 4 + size] for text in texts if len(text) >= size * 5 // 4]


def made(texts: list[str], count: int) -> dict[str, list[str]]:
    """Documents by kind. The same texts serve in each kind, so that kinds differ in nothing else."""
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for number, text in enumerate(texts[:count]):
        other, size = texts[(number + 1) % len(texts)], len(text)
        found["whole"].append(text)
        found["joined"].append(text[: size // 2] + other[size // 2 :])
        found["middle"].append(text[: size // 3] + other[size // 3 : 2 * size // 3] + text[2 * size // 3 :])
    return found


def auc(high: list[float], low: list[float]) -> float:
    return mean((a > b) + 0.5 * (a == b) for a in high for b in low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("--documents", type=int, default=30, help="of each kind and language")
    parser.add_argument("--segment-bytes", type=int, default=768)
    parser.add_argument("--segments", type=int, default=6)
    parser.add_argument("--languages", nargs="+", default=["en", "zh"])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sieve = GainSieve(ContinuationLoss(given.model, "cpu", 2048), given.segment_bytes)
    result = {}
    for language in given.languages:
        characters = given.segments * given.segment_bytes // (3 if language == "zh" else 1)
        documents = made(articles(given.data / "pretrain", language, characters), given.documents)
        began, notes = time.process_time(), {}
        for kind, texts in documents.items():
            notes[kind] = [note for text in texts for note in sieve.notes([text])]
            print(language, kind, [note["value"] for note in notes[kind]], flush=True)
        seconds = time.process_time() - began
        kilobytes = sum(len(text.encode()) for texts in documents.values() for text in texts) / 1e3
        figures = {"documents": len(documents["whole"]), "kb_per_s": round(kilobytes / seconds, 2)}
        for name, value in {"least": lambda n: n["value"], "mean": lambda n: mean(n["gains"])}.items():
            values = {kind: [value(note) for note in notes[kind]] for kind in KINDS}
            for kind in KINDS[1:]:
                figures[f"{kind}, {name}"] = round(auc(values["whole"], values[kind]), 3)
        result[language] = figures
        print(language, json.dumps(figures), flush=True)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
