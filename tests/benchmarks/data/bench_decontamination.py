"""Recall, false alarms and speed of decontamination: python bench_decontamination.py DATA [--items 60] [--json FILE]

DATA holds `eval/` (files of evaluation sets) and `pretrain/` (text that is taken as clean). Items are planted into pieces
of that text, each once as it is, re-wrapped, in the middle of a sentence, interrupted by 80 characters of other text, and
with one word edited, inserted or deleted.
What is planted is what decontamination looks for: the question, or question, options and answer where the question alone
says too little. Items of which not even that is enough are counted as not looked for. Recall is per planted document.
False alarms are counted in the same text without items, as pieces and as whole documents. The n-gram column is GPT-3's
way: a document goes if it has 13 words in a row in common with an item.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from internlm2_data.decontamination.index import ItemIndex
from internlm2_data.decontamination.items import ItemFields, read_items
from internlm2_data.decontamination.matcher import Match, Matcher
from internlm2_data.decontamination.settings import MatchSettings

NGRAM = 13
PLANTED = ("verbatim", "re-wrapped", "embedded", "interrupted", "edited", "inserted", "deleted")
PIECE = 3000
HAN = re.compile(r"[\u3400-\u9fff]")
TOKEN = re.compile(r"[\u3400-\u9fff]|[^\W_]+")


def lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().split("\n")


def clean_documents(data: Path) -> list[str]:
    """English web pages, encyclopedia articles and plays, Chinese prose and poems."""
    found = [json.loads(line)["text"] for line in lines(data / "c4_demo.jsonl.gz") if line]
    found += [json.loads(line)["text"] for line in lines(data / "zh_modern_NiuTrans.jsonl.gz") if line]
    found += ["".join(json.loads(line)["paragraphs"]) for line in lines(data / "zh_poet_tang.jsonl.gz") if line]
    found += [*lines(data / "wiki_demo.txt.gz"), "\n".join(lines(data / "tinyshakespeare.txt.gz"))]
    for name in ("test", "valid"):
        found += re.split(r"\n = (?!=)", "\n".join(lines(data / f"wikitext-2.{name}.txt.gz")))
    return [text for text in found if text.strip()]


def pieces(documents: list[str]) -> list[str]:
    return [text[i : i + PIECE] for text in documents for i in range(0, len(text), PIECE) if len(text) > i + 500]


def rewrapped(text: str, rng: random.Random) -> str:
    """Other line breaks, indented, two spaces here and there. Chinese is broken between any two signs."""
    width, at, made = rng.randint(20, 70), 0, ""
    units = list(text) if HAN.search(text) else re.findall(r"\S+\s*", text)
    for unit in units:
        made += unit if HAN.search(text) else unit.strip() + rng.choice([" ", " ", "  "])
        at += len(unit)
        if at > width:
            made, at = made.rstrip() + "\n    ", 0
    return made


def changed(text: str, how: str, rng: random.Random, words: list[str]) -> str:
    """One word (one sign of Chinese) edited, inserted or deleted."""
    spans = [match.span() for match in TOKEN.finditer(text)]
    start, stop = rng.choice(spans)
    new = rng.choice("天地人山水火木金土日月") if HAN.fullmatch(text[start:stop]) else rng.choice(words)
    put = {"edited": new, "inserted": f"{text[start:stop]} {new}", "deleted": ""}[how]
    return text[:start] + put + text[stop:]


def planted(text: str, how: str, host: str, rng: random.Random, words: list[str]) -> str:
    text = rewrapped(text, rng) if how == "re-wrapped" else text
    text = changed(text, how, rng, words) if how in ("edited", "inserted", "deleted") else text
    place = rng.randrange(len(host))
    if how == "interrupted":  # by a sentence or so of the host
        middle, start = len(text) // 2, rng.randrange(max(1, len(host) - 80))
        middle = middle if HAN.search(text) else text.find(" ", middle)
        text = f"{text[:middle]} {host[start : start + 80]} {text[middle:]}"
    if how != "embedded":  # between two lines or paragraphs
        place = host.find("\n", place)
        return f"{host[:place]}\n{text}\n{host[place:]}"
    place = host.find(" ", place) if not HAN.search(host) else place
    return f"{host[:place]} {text} {host[place:]}"


def ngrams(text: str) -> Iterator[tuple[str, ...]]:
    found = TOKEN.findall(text.lower())
    return zip(*(found[i:] for i in range(NGRAM)), strict=False)


def right_item(index: ItemIndex, number: int, matches: list[Match]) -> bool:
    return any(number in index.parts[match.part].items for match in matches)


def in_batches(matcher: Matcher, texts: list[str]) -> list[list[Match]]:
    return [found for start in range(0, len(texts), 256) for found in matcher.find(texts[start : start + 256])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--items", type=int, default=60, help="planted items of a set")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rng = random.Random(1)
    files = sorted(path for path in (given.data / "eval").rglob("*.*") if ".json" in path.name)
    files = [path for path in files if "reference" not in path.name and "judge" not in path.name]
    items, _ = read_items(files, ItemFields())
    began = time.process_time()
    index = ItemIndex.of(items, MatchSettings())
    indexed = time.process_time() - began
    matcher = Matcher(index, MatchSettings())
    wanted = {number: part.text for part in index.parts if part.kind != "answer" for number in part.items}
    by_set = defaultdict(list)
    for number in sorted(wanted):
        by_set[items[number].set].append(number)

    documents = clean_documents(given.data / "pretrain")
    matcher.find(documents[:100])  # compiled once, cached on disk
    began = time.process_time()
    alarms = in_batches(matcher, documents)
    seconds = time.process_time() - began
    megabytes = sum(len(text.encode()) for text in documents) / 1e6
    hosts = pieces(documents)
    clean = [not found for found in in_batches(matcher, hosts)]
    grams = {gram for text in wanted.values() for gram in ngrams(text)}
    result = {
        "items": len(items), "looked_for": len(wanted), "sets": len(by_set), "index_s": round(indexed, 1),
        "documents": len(documents), "megabytes": round(megabytes, 1), "mb_per_s": round(megabytes / seconds, 1),
        "false_alarms": sum(map(bool, alarms)), "pieces": len(clean), "false_alarms_in_pieces": clean.count(False),
        "false_alarms_of_ngrams": sum(any(gram in grams for gram in ngrams(text)) for text in documents), "recall": {},
    }  # fmt: skip
    print(json.dumps(result))
    for text, found in zip(documents, alarms, strict=True):
        for match in found:
            print(
                "  false alarm:",
                repr(text[match.start : match.stop][:120]),
                "for",
                repr(index.parts[match.part].text[:120]),
            )
    hosts = [host for host, good in zip(hosts, clean, strict=True) if good]
    words = re.findall(r"[a-z]+", documents[0].lower())
    chosen = [number for numbers in by_set.values() for number in rng.sample(numbers, min(given.items, len(numbers)))]
    print(f"{'planted':<12} {'documents':>9} {'recall':>8} {'right item':>10} {'worst set':>34} {'13-grams':>9}")
    for how in PLANTED:
        texts = [planted(wanted[number], how, rng.choice(hosts), rng, words) for number in chosen]
        found = in_batches(matcher, texts)
        hit, of = Counter(), Counter(items[number].set for number in chosen)
        hit.update(items[number].set for number, matches in zip(chosen, found, strict=True) if matches)
        worst = min(of, key=lambda name: hit[name] / of[name])
        right = sum(right_item(index, number, matches) for number, matches in zip(chosen, found, strict=True))
        by_ngrams = sum(any(gram in grams for gram in ngrams(text)) for text in texts)
        result["recall"][how] = {
            "documents": len(texts), "recall": round(hit.total() / len(texts), 4), "right_item": round(right / len(texts), 4),
            "worst_set": [worst, round(hit[worst] / of[worst], 3)], "ngrams": round(by_ngrams / len(texts), 4),
        }  # fmt: skip
        print(
            f"{how:<12} {len(texts):9} {hit.total() / len(texts):8.4f} {right / len(texts):10.4f} "
            f"{f'{worst} {hit[worst] / of[worst]:.2f}':>34} {by_ngrams / len(texts):9.4f}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
