"""Encoding of documents and of conversations against Transformers' fast tokenizer, the same vocabulary and ids.

    OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false python tests/benchmarks/core/bench_encoding.py [--rounds 7]
        [--megabytes 2] [--size 8192]

The text is Python source of the standard library. A vocabulary is trained on it first. Speeds are CPU seconds, so several
threads would count as one.
"""

import argparse
import json
import statistics
import sysconfig
import tempfile
import warnings
from pathlib import Path

from internlm2_core.checkpoint.tokenizer_files import write_tokenizer
from internlm2_core.text import ChatFormat, load_tokenizer
from internlm2_data.tokens.encoding import TextEncoder
from internlm2_data.vocabulary import train_vocabulary
from internlm2_records import Message
from peers import ratio, show, take_turns

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
        "vocabulary": options.size,
        "megabytes": round(size, 2),
        "conversations": len(chats),
        "equal_ids": {"documents": same_texts, "conversations": same_chats},
        "megabytes_per_cpu_second": {name: round(size / statistics.median(each), 2) for name, each in seconds.items()},
        "speed_over_transformers": {
            name: ratio(seconds[f"{name}, transformers"], seconds[name]) for name in ("documents", "conversations")
        },
    }
    show(figures, "tokenizers", "transformers")


if __name__ == "__main__":
    main()
