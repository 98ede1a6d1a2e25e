import json
from collections import Counter
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from internlm2_data.loading import ChatBatches, PackedBatches
from internlm2_records import Placed


def encode(messages):
    """One token a character, user turns as they are, the assistant's plus 1000 and trained on."""
    ids, mask = [], []
    for message in messages:
        answer = message["role"] == "assistant"
        ids += [ord(c) + 1000 * answer for c in message["content"]]
        mask += [answer] * len(message["content"])
    return SimpleNamespace(ids=ids, loss_mask=mask)


@pytest.fixture
def chats(tmp_path):
    path = tmp_path / "chats.jsonl"
    lines = [
        {
            "messages": [
                {"role": "user", "content": "q" * (i % 7 + 1)},
                {"role": "assistant", "content": chr(97 + i)},
            ]
        }
        for i in range(26)
    ]
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return ChatBatches([path], encode, context=20, batch_rows=4, seed=1)


def answers(batches):
    """Every label, counted."""
    labels = torch.cat([b["labels"].flatten() for b in batches])
    return Counter(labels[labels != -100].tolist())


def test_labels_are_shifted_and_only_answers_count(tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text(
        json.dumps({"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "xy"}]})
    )
    (batch,) = ChatBatches([path], encode, context=6, batch_rows=1, seed=0, pad_id=3).loader()
    assert batch["input_ids"].tolist() == [[97, 98, 1120, 1121, 3, 3]]
    assert batch["labels"].tolist() == [[-100, 1120, 1121, -100, -100, -100]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1]]


def test_a_pass_sees_every_conversation_once_and_the_next_in_another_order(chats):
    loader = chats.loader()
    first, second = list(loader), list(loader)
    every = Counter(range(1097, 1097 + 26))
    assert answers(first) == every
    assert answers(second) == every
    assert not torch.equal(first[0]["input_ids"], second[0]["input_ids"])
    assert len(first) <= len(chats.loader()) == -(-len(torch.cat([b["input_ids"] for b in first])) // 4)


@pytest.mark.parametrize("after", [1, 2, 3, 4, 6])
def test_resumes_in_mid_pass_and_between_passes(chats, after):
    def stream(loader):
        while True:
            yield from loader

    reference = list(islice(stream(chats.loader()), 9))
    first = chats.loader(0, 2)
    list(islice(stream(first), after))
    other = chats.loader(0, 4, num_workers=1)
    other.load_state_dict(first.state_dict())
    rest = list(islice(stream(other), 9 - after))
    for batch, expected in zip(rest, reference[after:], strict=True):
        assert torch.equal(batch["input_ids"], expected["input_ids"][0::4])


def test_overlong_conversations_are_dropped_or_cut(tmp_path, caplog):
    path = tmp_path / "long.jsonl"
    lines = [[{"role": "assistant", "content": "x" * n}] for n in (5, 50)]
    path.write_text("\n".join(json.dumps({"messages": m}) for m in lines))
    (dropped,) = ChatBatches([path], encode, 10, 1, seed=0).loader()
    assert (dropped["labels"] != -100).sum() == 4
    assert "1 were dropped" in caplog.text
    cut = list(ChatBatches([path], encode, 10, 1, seed=0, overlong="cut").loader())
    assert sum((b["labels"] != -100).sum().item() for b in cut) == 4 + 9
    with pytest.raises(ValueError, match="2 are longer than context=4 tokens"):
        ChatBatches([path], encode, 4, 1, seed=0).loader()


@pytest.mark.parametrize("batch_rows", [1, 4])
def test_conversations_without_a_label_are_left_out_and_counted(tmp_path, caplog, batch_rows):
    asked, told = {"role": "user", "content": "q" * 6}, {"role": "assistant", "content": "a"}
    lines = [[asked, told], [asked], [told], [{"role": "user", "content": "q" * 10}, told]] * 5
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(json.dumps({"messages": m}) for m in lines))
    # Nobody answers in the second, the third is nothing but a first token, and the fourth is cut before its answer.
    loader = ChatBatches([path], encode, 8, batch_rows, seed=0, overlong="cut").loader()
    batches = list(loader)
    assert all((batch["labels"] != -100).any() for batch in batches)
    assert answers(batches) == Counter({1097: 5})
    assert f"of 20 conversations of {path} 0 were dropped and 0 cut at 8 tokens, and 15 left out" in caplog.text


def test_no_label_at_all_is_refused(tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "q"}]}))
    with pytest.raises(ValueError, match=r"Of 1 conversations of .*asked\.jsonl none is left.*1 have no token that carries"
                       r" loss, since no role in train_roles"):  # fmt: skip
        ChatBatches([path], encode, 10, 1, seed=0).loader()


def test_an_unknown_way_with_long_ones_is_refused(chats):
    with pytest.raises(ValueError, match=r"overlong=trim must be drop or cut\."):
        ChatBatches(chats.conversations, encode, 10, 1, seed=0, overlong="trim")


def test_what_cannot_be_encoded_is_named(chats):
    def refuse(messages):
        raise ValueError("chat tool 'x' is none")

    with pytest.raises(ValueError, match=r"chats\.jsonl, line 1 cannot be encoded: chat tool 'x' is none"):
        ChatBatches(chats.conversations, refuse, 10, 1, seed=0).loader()


def test_held_out_batches_are_made_alike_without_plain_text(chats, numbered, tmp_path):
    text = PackedBatches({"en": numbered(40, 0, base=10_000)}, context=20, batch_rows=1, seed=0)
    mixed = ChatBatches(chats.conversations, encode, 20, 4, seed=1, pretrain=text, pretrain_fraction=0.5)
    (tmp_path / "held.jsonl").write_text(json.dumps({"messages": [{"role": "assistant", "content": "xyz"}]}))
    (batch,) = mixed.held_out(str(tmp_path / "held.jsonl")).loader()
    assert batch["input_ids"].shape == (4, 20)
    assert answers([batch]) == Counter({1121: 1, 1122: 1})


def test_a_share_of_rows_is_plain_text(chats, numbered):
    text = PackedBatches({"en": numbered(40, 0, base=10_000)}, context=20, batch_rows=1, seed=0)
    mixed = ChatBatches(chats.conversations, encode, 20, 4, seed=1, pretrain=text, pretrain_fraction=0.5)
    loader = mixed.loader()
    rows = torch.cat([b["input_ids"] for b in loader])
    is_text = (rows[:, 0] >= 10_000).sum().item()
    assert is_text == (len(rows) - (rows.sum(1) == 0).sum().item()) / 2
    labels = torch.cat([b["labels"].flatten() for b in mixed.loader()])
    assert Counter(labels[(labels >= 1000) & (labels < 10_000)].tolist()) == Counter(range(1097, 1097 + 26))
    again = torch.cat([b["input_ids"] for b in loader])
    texts = {tuple(r.tolist()) for r in rows if r[0] >= 10_000}
    assert not texts & {tuple(r.tolist()) for r in again if r[0] >= 10_000}, "the text goes on in the next pass"


def test_broken_lines_are_named(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "x"}]}\n{"messages": \n')
    with pytest.raises(ValueError, match=r"bad.jsonl, line 2 is broken JSON"):
        ChatBatches([path], encode, 10, 1, seed=0).loader()
    with pytest.raises(FileNotFoundError, match=r"nowhere.jsonl does not exist\."):
        ChatBatches(["nowhere.jsonl"], encode, 10, 1, seed=0).loader()


def test_what_is_no_conversation_is_named(chats, tmp_path):
    path = tmp_path / "other.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "x"}]}\n{"question": "x"}\n["x"]\n')
    with pytest.raises(ValueError, match=r"other\.jsonl, line 2: keys=\['question'\] must hold one of messages"):
        ChatBatches([*chats.conversations, path], encode, 10, 1, seed=0).loader()


def test_files_of_ones_own_format_and_of_several(chats, tmp_path):
    path = tmp_path / "asked.txt"
    path.write_text("q:z")

    def read_asked(file):
        asked, told = file.read_text().split(":")
        yield Placed(file, 1, {"instruction": asked, "output": told})

    both = ChatBatches([*chats.conversations, path], encode, 20, 4, seed=1, readers={".txt": read_asked})
    assert answers(both.loader()) == answers(chats.loader()) + Counter({1000 + ord("z"): 1})
