"""Encoding of documents and of conversations against Transformers' fast tokenizer, the same vocabulary and ids.

    OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false python tests/benchmarks/data/bench_encoding.py [--rounds 7]
        [--megabytes 2] [--size 8192]

The text is Python source of the standard library. A vocabulary is trained on it first. Speeds are CPU seconds, so several
threads would count as one.
"""

import argparse
import json
import statistics
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

from internlm2_core.checkpoint.tokenizer_files import write_tokenizer
from internlm2_core.text import ChatFormat, load_tokenizer
from internlm2_data.tokens.encoding import TextEncoder
from internlm2_data.vocabulary import train_vocabulary
from internlm2_records import Message

BATCH = 64


def documents(megabytes: float) -> list[str]:
    """Files of the standard library, in the order of their names."""
    texts, room = [], int(megabytes * 2**20)
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        if room <= 0:
            break
        texts.append(file.read_text("utf-8", errors="replace"))
        room -= len(texts[-1])
    return texts


def conversations(texts: list[str]) -> list[list[Message]]:
    """Turns of about 500 characters."""
    found: list[list[Message]] = []
    for text in texts:
        for start in range(0, len(text) - 1000, 1000):
            asked, said = text[start : start + 500], text[start + 500 : start + 1000]
            found.append([{"role": "user", "content": asked}, {"role": "assistant", "content": said}])
    return found


def take_turns(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each case in each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, case in cases.items():
            start = time.process_time()
            case()
            if turn:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(slower: list[float], faster: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles((a / b for a, b in zip(slower, faster, strict=True)), n=4)
    return {"median": round(middle, 3), "from": round(low, 3), "to": round(high, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=float, default=2)
    parser.add_argument("--size", type=int, default=8192)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    from transformers import AutoTokenizer

    texts = documents(options.megabytes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "docs.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        train_vocabulary([str(folder / "docs.jsonl")], folder / "vocabulary", size=options.size)
        (folder / "model").mkdir()
        write_tokenizer(folder / "model", load_tokenizer(folder / "vocabulary"))
        theirs, ours = AutoTokenizer.from_pretrained(folder / "model"), load_tokenizer(folder / "model")
        encoder, chat = TextEncoder(folder / "model"), ChatFormat(ours)
        batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        chats = conversations(texts)

        def of_transformers(messages: list[Message]) -> list[int]:
            ids: list[int] = theirs.apply_chat_template(messages, return_dict=True)["input_ids"]
            return ids

        same_texts = all(ours.encode(text) == theirs.encode(text, add_special_tokens=False) for text in texts)
        same_chats = all(chat.encode(messages).ids == of_transformers(messages) for messages in chats)
        seconds = take_turns(
            {
                "documents": lambda: [encoder.encode(batch) for batch in batches],
                "documents, transformers": lambda: [theirs(batch, add_special_tokens=False) for batch in batches],
                "conversations": lambda: [chat.encode(messages) for messages in chats],
                "conversations, transformers": lambda: [of_transformers(messages) for messages in chats],
            },
            options.rounds,
        )
    size = sum(len(text.encode()) for text in texts) / 1e6
    figures = {
        "date": date.today().isoformat(),
        **{name: version(name) for name in ("tokenizers", "transformers")},
        "vocabulary": options.size,
        "megabytes": round(size, 2),
        "conversations": len(chats),
        "equal_ids": {"documents": same_texts, "conversations": same_chats},
        "megabytes_per_cpu_second": {name: round(size / statistics.median(each), 2) for name, each in seconds.items()},
        "speed_over_transformers": {
            name: ratio(seconds[f"{name}, transformers"], seconds[name]) for name in ("documents", "conversations")
        },
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
