"""Encoded pairs that are kept in a folder: what they hold, what they take, who makes them and when they are made again."""

import json
import multiprocessing
import os
import time
import tracemalloc
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from internlm2_align import PreferenceData
from internlm2_align.preferences.preference import Preference, to_record
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.encoded import EncodedPairs
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.kept import kept
from internlm2_align.reward.pairs import PairBatches, encode_pairs
from internlm2_core.text.tokenizer import ByteTokenizer


class Wide(ByteTokenizer):
    """More ids than 16 bits hold, all of which occur."""

    def __init__(self):
        super().__init__()
        self.vocab_size = 92_544

    def encode(self, text):
        return [300 + (place * 7919 + ord(letter) * 31) % 92_000 for place, letter in enumerate(text)]


CONDITIONS = Conditions({"maths": {"en": "M"}, "format": {"en": "F"}})


def pair(index, **changes):
    asked = ({"role": "user", "content": f"{index} + 1?" + " " * (index % 7)},)
    keys = {"domain": "format" if index % 3 else "maths", "chosen": str(index), "rejected": "7" * (1 + index % 5) + "x"}
    return Preference(prompt=asked, meta={"score_gap": index % 4, "language": "en"}, **(keys | changes))


def write(path, pairs):
    path.write_text("".join(json.dumps(to_record(each)) + "\n" for each in pairs))
    return str(path)


@pytest.fixture
def make(tmp_path, tokenizer):
    write(tmp_path / "train.jsonl", [*map(pair, range(40)), pair(50, chosen="a" * 400), pair(0), pair(51, chosen=" ")])

    def made(folder="kept", tokenizer=tokenizer, max_tokens=200, **changes):
        encoder = ConversationEncoder(tokenizer, changes.pop("conditions", CONDITIONS), max_tokens)
        keys = {"heldout_share": 0.2, "margin_per_gap": 0.5, "folder": folder and tmp_path / folder}
        data = PreferenceData(str(tmp_path / "train.jsonl"), encoder, **(keys | changes))
        data.setup()
        return data

    return made


@pytest.mark.parametrize(("tokenizer", "dtype"), [(ByteTokenizer(), "uint16"), (Wide(), "uint32")])
@pytest.mark.parametrize("share_prompts", [True, False])
def test_a_folder_holds_what_memory_holds(make, tmp_path, tokenizer, dtype, share_prompts):
    batches = PairBatches(600, share_prompts=share_prompts)
    there, mapped = (make(folder, tokenizer, batches=batches) for folder in (None, "kept"))
    again = make("kept", tokenizer, batches=batches)
    card = json.loads((tmp_path / "kept" / "card.json").read_text())
    for data in (mapped, again):
        assert list(data.pairs) == list(there.pairs) and list(data.heldout_pairs) == list(there.heldout_pairs)
        assert data.heldout_preferences == there.heldout_preferences and data.counts == there.counts
        assert str(data.pairs.ids.dtype) == dtype == card["ids"]
        assert data.loader().plan() == there.loader().plan()
    # Nothing is lost: what came in is used or counted.
    counts = card["counts"]
    assert sum(counts["train"].values()) + counts["heldout"]["used"] == 43
    assert counts["train"]["used"] == card["pairs"] == len(there.pairs)
    assert counts["train"] == {"used": card["pairs"], "duplicate": 1, "too_long": 1, "empty_reply": 1}
    assert card["tokens"] == sum(each.group.stored_tokens for each in there.pairs)
    prompts = sum(len(each.group.prompt) for each in there.pairs)
    assert sum(each.stored_tokens for each in again.pairs) == card["tokens"] + (0 if share_prompts else prompts)


def test_a_token_takes_five_bytes_at_most(tmp_path):
    encoder = ConversationEncoder(Wide(), CONDITIONS, 8192)
    pairs = [pair(n, chosen="a" * 200 + str(n), rejected="b" * 200 + str(n)) for n in range(500)]
    tracemalloc.start()
    in_memory = encode_pairs(pairs, encoder, Counter())
    memory, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tokens = sum(in_memory.stored_tokens())
    assert tokens == sum(each.group.stored_tokens for each in in_memory) > 200_000
    on_disk = encode_pairs(pairs, encoder, Counter(), folder=tmp_path)
    files = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert files < 5 * tokens and memory < 6 * tokens
    tracemalloc.start()
    EncodedPairs.open(tmp_path, encoder.tokenizer.vocab_size)[7]
    mapped, _ = tracemalloc.get_traced_memory()
    assert mapped < 0.1 * tokens and list(on_disk) == list(in_memory)
    tracemalloc.stop()


CHANGES = {
    "conditions": {"conditions": Conditions({"maths": {"en": "M"}, "format": {"en": "G"}})},
    "limit": {"max_tokens": 100},
    "split": {"heldout_seed": 3},
    "margin": {"margin_per_gap": 0.25},
    "tokenizer": {"tokenizer": Wide()},
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_settings_make_it_again(make, name, caplog):
    make()
    found = make(**CHANGES[name])
    assert "is made again" in caplog.text
    expected = make(folder=None, **CHANGES[name])
    assert list(found.pairs) == list(expected.pairs) and found.counts == expected.counts


def test_another_file_makes_it_again_and_the_same_elsewhere_does_not(make, tmp_path, caplog):
    made = (make(), tmp_path / "kept" / "card.json")[1].stat().st_mtime_ns
    lines = (tmp_path / "train.jsonl").read_text()
    (tmp_path / "moved").mkdir()
    (tmp_path / "train.jsonl").rename(tmp_path / "moved" / "train.jsonl")
    (tmp_path / "train.jsonl").write_text(lines)
    make()
    assert (tmp_path / "kept" / "card.json").stat().st_mtime_ns == made
    (tmp_path / "train.jsonl").write_text(lines.replace("39 + 1?", "93 + 1?"))
    assert "is made again" in (make(), caplog)[1].text


def make_slowly(log, draft):
    with log.open("a") as stream:
        stream.write("made\n")
    time.sleep(0.2)
    return {"by": os.getpid()}


def want(folder, log):
    kept(folder, "f", partial(make_slowly, log), print)


def test_it_is_made_once_by_ranks_that_want_it_together(tmp_path):
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=want, args=(tmp_path / "kept", tmp_path / "log")) for _ in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    assert [rank.exitcode for rank in ranks] == [0, 0, 0] and (tmp_path / "log").read_text() == "made\n"


def test_a_making_that_fails_leaves_what_was_there(tmp_path):
    def fail(draft: Path):
        (draft / "half").touch()
        raise ValueError("broken")

    kept(tmp_path / "kept", "old", lambda draft: {"n": 1}, print)
    with pytest.raises(ValueError, match="broken"):
        kept(tmp_path / "kept", "new", fail, print)
    assert json.loads((tmp_path / "kept" / "card.json").read_text()) == {"fingerprint": "old", "n": 1}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"folder=.*mine holds something else than encoded pairs"):
        kept(tmp_path / "mine", "f", fail, print)
    assert (tmp_path / "mine" / "thesis.tex").exists() and not [*tmp_path.glob(".*.draft")]
