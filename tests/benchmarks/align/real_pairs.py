r"""Preference pairs of real data for the ablation with and without conditions.

    python tests/benchmarks/align/real_pairs.py DATA FOLDER [--per-question 1] [--per-domain 400] [--concise]
    internlm2 reward -m +experiment=conditions seed=1,2,3 checkpoint=SFT conditions.file=FOLDER/conditions.yaml \
        'preferences=["FOLDER/${seed}/train.jsonl"]' 'heldout=["FOLDER/${seed}/heldout.jsonl"]' max_tokens=512 \
        batches.budget_tokens=2048 optimizer.lr=1e-3 schedule.floor=0.1 epochs=2

SFT may be what small_model.py writes (--layers 4): a real language model that two cores can train. The rate matters: at
1e-4 for one epoch it learns the pairs and not what the conditions say.

DATA holds files of public repositories under their own names. helpful: FineGrainedRLHF (1 and 2 name the better answer)
and PandaLM (majority of three annotators); general: DPO demos in English and Chinese; maths: solutions to GSM8K, right
against wrong; code: ToRA's programs, of two models, whose result is right against wrong. FOLDER/1, 2 and 3 hold out a
third of the questions each, so that no prompt is on both sides, three seeds see three splits, and each pair is held out
once.

These domains do not contradict each other: in none does the shorter reply win. --concise adds one that does, labelled BY
RULE: of two replies of helpful and general that differ by a fifth in length, the shorter. Where people chose the longer
one, both pairs are in the slice ``opposed``.
"""

import argparse
import gzip
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, islice, product
from pathlib import Path
from typing import Any

Pair = tuple[str, str, str, str]
"""Language, prompt, chosen, rejected."""


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file) if path.name.endswith(".json.gz") else [json.loads(line) for line in file]


def helpful(data: Path) -> Iterator[Pair]:
    for record in read(data / "fgrlhf_qa_dev_feedback.json.gz"):
        answers = [record[f"prediction {number}"] for number in (1, 2, 3, 4)]
        for (a, b), verdict in zip(combinations(answers, 2), record["preference"], strict=True):
            if verdict:
                yield ("en", record["question"], *((a, b) if verdict == 1 else (b, a)))
    for record in read(data / "pandalm_testset_human.json.gz"):
        votes = Counter(record[f"annotator{number}"] for number in (1, 2, 3))
        (winner, count), replies = votes.most_common(1)[0], (str(record["response1"]), str(record["response2"]))
        if winner and count >= 2:
            asked = "\n".join(part for part in (record["instruction"], record["input"]) if part)
            yield ("en", asked, replies[winner - 1], replies[2 - winner])


def general(data: Path) -> Iterator[Pair]:
    for name, language in (("dpo_en_demo.json.gz", "en"), ("dpo_zh_demo.json.gz", "zh"), ("dpo_zh_500.jsonl.gz", "zh")):
        for record in read(data / name):
            if len(record["conversations"]) == 1:
                said = [x["value"] if isinstance(x, dict) else x for x in (record["chosen"], record["rejected"])]
                yield (language, record["conversations"][0]["value"], *said)


def maths(data: Path) -> Iterator[Pair]:
    models = [f"{size}_{kind}" for size in ("6b", "175b") for kind in ("finetuning", "verification")]
    for record in read(data / "gsm8k_example_model_solutions.jsonl.gz"):
        sides = {True: [], False: []}
        for model in models:
            sides[record[model]["is_correct"]].append(record[model]["solution"])
        yield from (("en", record["question"], right, wrong) for right, wrong in product(sides[True], sides[False]))


def code(data: Path) -> Iterator[Pair]:
    files = [read(path) for path in sorted(data.glob("tora-*gsm8k_programs.jsonl.gz"))]
    for records in zip(*files, strict=True):
        right = [same_number(record["pred"][0], record["gt"]) for record in records]
        if len(set(right)) == 2:
            programs = {ok: record["code"][0] for ok, record in zip(right, records, strict=True)}
            yield ("en", records[0]["question"], programs[True], programs[False])


def same_number(first: Any, second: Any) -> bool:
    try:
        return abs(float(first) - float(second)) < 1e-3
    except (TypeError, ValueError):
        return False


CONDITIONS = """extends: default
domains:
  general: {en: Score which reply people would rather have., zh: 评价人们更喜欢哪个回答。}
  concise: {en: Score which reply is shorter., zh: 评价哪个回答更短。}
"""


def concise(record: dict[str, Any]) -> dict[str, Any] | None:
    """The same two replies, the shorter one chosen; None if they are of about one length."""
    short, long = sorted((record["chosen"], record["rejected"]), key=len)
    if len(short) > 0.8 * len(long):
        return None
    slices = ["opposed"] if record["chosen"] == long else ["agreed"]
    record["meta"]["slices"] = slices
    return {**record, "domain": "concise", "chosen": short, "rejected": long, "meta": dict(record["meta"])}


def one_of_three(question: str) -> int:
    """The fold, 1 to 3, that holds out a question."""
    return hashlib.blake2b(question.encode(), digest_size=8).digest()[0] % 3 + 1


def first_of_each(pairs: list[Pair], count: int) -> Iterator[Pair]:
    """At most so many pairs of one question."""
    seen: Counter[str] = Counter()
    for pair in pairs:
        seen[pair[1]] += 1
        if seen[pair[1]] <= count:
            yield pair


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-domain", type=int, default=800)
    parser.add_argument("--per-question", type=int, default=100)
    parser.add_argument("--max-characters", type=int, default=1200, help="of prompt and longer reply together")
    parser.add_argument("--concise", action="store_true", help="add the domain labelled by rule")
    options = parser.parse_args()
    written: dict[str, list[dict[str, Any]]] = {}
    for domain, source in {"helpful": helpful, "general": general, "maths": maths, "code": code}.items():
        pairs = [p for p in source(options.data) if len(p[1]) + max(map(len, p[2:])) <= options.max_characters]
        random.Random(1).shuffle(pairs)
        for language, asked, chosen, rejected in islice(first_of_each(pairs, options.per_question), options.per_domain):
            prompt = [{"role": "user", "content": asked}]
            meta = {"language": language, "question": asked}
            record = {"domain": domain, "prompt": prompt, "chosen": chosen, "rejected": rejected, "meta": meta}
            brief = concise(record) if options.concise and domain in ("helpful", "general") else None
            for entry in filter(None, (record, brief)):
                written.setdefault(entry["domain"], []).append(entry)
    entries = [entry for of_domain in written.values() for entry in of_domain]
    for fold in (1, 2, 3):
        folder = options.folder / str(fold)
        folder.mkdir(parents=True, exist_ok=True)
        for name, is_held in (("train", False), ("heldout", True)):
            with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as out:
                for entry in entries:
                    if (one_of_three(entry["meta"]["question"]) == fold) == is_held:
                        out.write(json.dumps(entry, ensure_ascii=False) + "\n")
    (options.folder / "conditions.yaml").write_text(CONDITIONS, encoding="utf-8")
    print(json.dumps({domain: len(found) for domain, found in written.items()}))


if __name__ == "__main__":
    main()
