"""Conversations of other formats become ChatML messages."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from internlm2_data.loading.conversations import PLUGIN, messages_of, read_conversations

ASKED = {"role": "user", "content": "1+1?"}
TOLD = {"role": "assistant", "content": "2"}
CALL = '{"name": "add", "arguments": {"a": 1}}'


@pytest.mark.parametrize(
    ("record", "messages"),
    [
        ({"messages": [ASKED, TOLD]}, [ASKED, TOLD]),
        ({"conversations": [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]}, [ASKED, TOLD]),
        ({"instruction": "1+1?", "input": "", "output": "2"}, [ASKED, TOLD]),
        ({"instruction": "Add.", "input": "1, 1", "output": "2"}, [{"role": "user", "content": "Add.\n1, 1"}, TOLD]),
        ({"instruction": "1+1?", "output": "2", "history": [["hi", "yo"]], "system": "be brief"},
         [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"},
          {"role": "assistant", "content": "yo"}, ASKED, TOLD]),
        ({"text": "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"}, [ASKED, TOLD]),
        ({"text": f"<|im_start|>environment name={PLUGIN}\n2<|im_end|>"},
         [{"role": "environment", "name": PLUGIN, "content": "2"}]),
    ],
)  # fmt: skip
def test_each_format_by_hand(record, messages):
    assert messages_of(record) == messages


def test_tools_of_sharegpt_and_openai_say_the_same():
    sharegpt = {
        "tools": "[add]",
        "conversations": [
            {"from": "human", "value": "1+1?"},
            {"from": "function_call", "value": CALL},
            {"from": "observation", "value": "2"},
            {"from": "gpt", "value": "2"},
        ],
    }
    openai = {
        "messages": [
            {"role": "system", "name": PLUGIN, "content": "[add]"},
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": [{"function": json.loads(CALL)}]},
            {"role": "tool", "content": "2"},
            TOLD,
        ]
    }
    assert messages_of(sharegpt) == messages_of(openai)
    assert messages_of(openai)[2] == {
        "role": "assistant",
        "content": "",
        "tool_call": {"tool": PLUGIN, "content": CALL},
    }


def test_every_kind_of_file(tmp_path):
    records = [{"messages": [ASKED, TOLD]}, {"messages": [TOLD]}]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.json").write_text(json.dumps(records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "d.parquet")
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(records).save_to_disk(str(tmp_path / "e"))
    for name in ("a.jsonl", "b.jsonl.gz", "c.json", "d.parquet", "e"):
        assert list(read_conversations([tmp_path / name])) == [[ASKED, TOLD], [TOLD]], name


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"question": "x"}, r"keys are \['question'\]\): give it one of messages, conversations, instruction, text"),
        ({"conversations": [{"from": "narrator", "value": "x"}]}, "KeyError: 'narrator'"),
        ({"text": "hello <|im_start|>user\nx<|im_end|>"}, "'hello' stands outside"),
        ({"messages": []}, "no turns"),
        ({"instruction": "x"}, "KeyError: 'output'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, record, sentence):
    file = tmp_path / "chats.jsonl"
    file.write_text(json.dumps({"messages": [ASKED]}) + "\n" + json.dumps(record) + "\n")
    with pytest.raises(ValueError, match=f"chats.jsonl record 2 is no conversation.*{sentence}"):
        list(read_conversations([file]))


@pytest.mark.parametrize(
    ("name", "count"),
    [("alpaca_en_demo.json.gz", 100), ("alpaca_zh_demo.json.gz", 100), ("glaive_toolcall_zh_demo.json.gz", 100),
     ("sharegpt_zh_1k.jsonl.gz", 900)],
)  # fmt: skip
def test_real_files(real_data, name, count):
    conversations = list(read_conversations([real_data / "sft" / name]))
    assert len(conversations) > count
    assert {m["role"] for messages in conversations for m in messages} <= {"system", "user", "assistant", "environment"}
    if "toolcall" in name:
        assert any("tool_call" in m for messages in conversations for m in messages)
