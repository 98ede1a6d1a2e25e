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
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "1+"}, {"type": "text", "text": "1?"}]}, TOLD]},
         [ASKED, TOLD]),
        ({"messages": [{"role": "system", "content": "be brief"}, ASKED], "system": "be kind", "tools": [{"name": "加"}]},
         [{"role": "system", "content": "be kind"}, {"role": "system", "content": "be brief"},
          {"role": "system", "name": PLUGIN, "content": '[{"name": "加"}]'}, ASKED]),
        ({"system": "be kind", "conversations": [{"from": "human", "value": "1+1?"}]},
         [{"role": "system", "content": "be kind"}, ASKED]),
        ({"messages": None, "conversations": [{"from": "human", "value": "1+1?"}]}, [ASKED]),  # columns of a table
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
    published = {  # as the API writes it: arguments are JSON inside of JSON, tools stand beside the messages
        "tools": "[add]",
        "messages": [
            ASKED,
            {
                "role": "assistant",
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "2"},
            TOLD,
        ],
    }
    older = {
        "tools": "[add]",
        "messages": [
            ASKED,
            {"role": "assistant", "content": None, "function_call": json.loads(CALL)},
            {"role": "function", "name": "add", "content": "2"},
            TOLD,
        ],
    }
    assert messages_of(sharegpt) == messages_of(openai) == messages_of(published) == messages_of(older)
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
        unit = "line" if "jsonl" in name else "record"
        places = [f"{tmp_path / name} {unit} {number}" for number in (1, 2)]
        assert list(read_conversations([tmp_path / name])) == list(zip(places, [[ASKED, TOLD], [TOLD]], strict=True))
        assert list(read_conversations(str(tmp_path / name))) == list(read_conversations([tmp_path / name]))


def test_what_datasets_cached_beside_a_dataset_is_no_data(tmp_path):
    datasets = pytest.importorskip("datasets")
    saved = datasets.Dataset.from_list([{"messages": [ASKED, TOLD]}, {"messages": [TOLD]}, {"messages": [ASKED]}])
    saved.save_to_disk(str(tmp_path), num_shards=2)
    loaded = datasets.load_from_disk(str(tmp_path))
    loaded.map(lambda row: {"messages": row["messages"][:1]})
    loaded.filter(lambda row: len(row["messages"]) == 1)
    assert len(list(tmp_path.glob("cache-*.arrow"))) == 2
    assert [messages for _, messages in read_conversations(tmp_path)] == [row["messages"] for row in saved]


def test_a_folder_of_splits_names_them(tmp_path):
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list([{"messages": [ASKED, TOLD]}])
    datasets.DatasetDict({"train": one, "test": one}).save_to_disk(str(tmp_path / "both"))
    with pytest.raises(ValueError, match=r"both holds the splits train, test: set conversations=\[.*/both/train\]"):
        list(read_conversations([tmp_path / "both"]))
    assert [messages for _, messages in read_conversations([tmp_path / "both" / "test"])] == [[ASKED, TOLD]]
    with pytest.raises(FileNotFoundError, match=r"holds no state\.json of datasets\.save_to_disk"):
        list(read_conversations([tmp_path]))


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"question": "x"}, r"keys are \['question'\]: give it one of messages, conversations, instruction, text"),
        (
            {"conversations": [{"from": "narrator", "value": "x"}]},
            "role 'narrator' is unknown: rename it to system, user,",
        ),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role 'robot' is unknown"),
        ({"text": "<|im_start|>robot\nx<|im_end|>"}, "role 'robot' is unknown"),
        ({"text": "hello <|im_start|>user\nx<|im_end|>"}, "'hello' stands outside"),
        ({"messages": []}, "no turns"),
        ({"instruction": "x"}, "it lacks 'output'"),
        ({"instruction": "x", "output": None}, r"the content of turn 2 \(assistant\) is None, not text"),
        ({"messages": [ASKED, {"role": "assistant", "content": None}]}, r"the content of turn 2 \(assistant\) is None"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "a part of its content is of type 'image_url': only text can be trained on",
        ),
        (
            {"conversations": [{"from": "function_call", "value": {"name": "add"}}]},
            r"the call of turn 1 \(assistant\) is {",
        ),
        (["x"], "it is a list, not an object"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, record, sentence):
    file = tmp_path / "chats.jsonl"
    file.write_text(json.dumps({"messages": [ASKED]}) + "\n" + json.dumps(record) + "\n")
    with pytest.raises(ValueError, match=f"chats.jsonl line 2 is no conversation.*{sentence}"):
        list(read_conversations([file]))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("alpaca_en_demo.json.gz", "alpaca"), ("alpaca_zh_demo.json.gz", "alpaca"),
     ("glaive_toolcall_zh_demo.json.gz", "sharegpt"), ("sharegpt_zh_1k.jsonl.gz", "sharegpt")],
)  # fmt: skip
def test_real_files_lose_no_word(real_data, name, kind):
    file = real_data / "sft" / name
    text = gzip.decompress(file.read_bytes()).decode()
    records = json.loads(text) if ".json." in name else [json.loads(line) for line in text.splitlines()]
    conversations = [messages for _, messages in read_conversations([file])]
    assert len(conversations) == len(records) > 100
    for record, messages in zip(records, conversations, strict=True):
        if kind == "alpaca":
            words = [record["instruction"], record["input"], record["output"], record.get("system", "")]
        else:
            tools = record.get("tools", "").removesuffix("[]")
            words = [record.get("system", ""), tools, *(turn["value"] for turn in record["conversations"])]
        said = [part for m in messages for part in (m["content"], m.get("tool_call", {}).get("content", ""))]
        assert "".join(said).replace("\n", "") == "".join(words).replace("\n", "")
