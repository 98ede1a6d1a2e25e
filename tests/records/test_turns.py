"""Turns of other formats become our messages."""

import gzip
import json

import pytest
from internlm2_records import conversation_of, read_records, turns_of, with_tools

PLUGIN = "<|plugin|>"
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
        ({"messages": [ASKED, TOLD | {"weight": 0}, TOLD | {"weight": 1.0, "reasoning_content": None}]},
         [ASKED, TOLD | {"weight": 0}, TOLD]),
        ({"messages": [ASKED, TOLD | {"loss": False}, TOLD | {"train": True}]}, [ASKED, TOLD | {"weight": 0}, TOLD]),
        ({"conversations": [{"from": "gpt", "value": "2"}, {"from": "function_call", "value": CALL, "weight": 0}]},
         [TOLD | {"tool_call": {"tool": PLUGIN, "content": CALL}, "weight": 0}]),
        ({"messages": None, "conversations": [{"from": "human", "value": "1+1?"}]}, [ASKED]),  # columns of a table
    ],
)  # fmt: skip
def test_each_format_by_hand(record, messages):
    assert conversation_of(record) == messages


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
    assert conversation_of(sharegpt) == conversation_of(openai) == conversation_of(published) == conversation_of(older)
    assert conversation_of(openai)[2] == {
        "role": "assistant",
        "content": "",
        "tool_call": {"tool": PLUGIN, "content": CALL},
    }


TALKS = {
    "ours": {"messages": [
        {"role": "user", "content": "1 + 1"},
        {"role": "assistant", "content": "So:", "tool_call": {"tool": "<|interpreter|>", "content": "1 + 1"}},
        {"role": "environment", "name": "<|interpreter|>", "content": "2"},
    ]},
    "openai": {"messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "clock", "arguments": {}}}]},
        {"role": "tool", "tool_call_id": "1", "content": "12:00"},
        {"role": "assistant", "content": "Noon."},
    ]},
    "sharegpt": {"system": "Be brief.", "tools": json.dumps([{"name": "clock"}]), "conversations": [
        {"from": "human", "value": "Time?"},
        {"from": "gpt", "value": "I look."},
        {"from": "function_call", "value": "{}"},
        {"from": "observation", "value": "12:00"},
        {"from": "function_call", "value": "{}"},
        {"from": "observation", "value": "12:01"},
        {"from": "gpt", "value": "Noon."},
    ]},
}  # fmt: skip


def test_our_messages_stay_as_they_are():
    assert turns_of(TALKS["ours"]["messages"]) == TALKS["ours"]["messages"]


@pytest.mark.parametrize("name", TALKS)
def test_turns_of_a_value_and_of_a_record_are_the_same(name):
    talk = TALKS[name]
    assert conversation_of(talk) == with_tools(talk, turns_of(talk.get("messages") or talk["conversations"]))


def test_words_and_call_of_sharegpt_are_one_turn():
    call = {"tool": PLUGIN, "content": "{}"}
    roles = [(turn["role"], turn["content"], turn.get("tool_call")) for turn in conversation_of(TALKS["sharegpt"])]
    assert roles == [
        ("system", "Be brief.", None),
        ("system", '[{"name": "clock"}]', None),
        ("user", "Time?", None),
        ("assistant", "I look.", call),
        ("environment", "12:00", None),
        ("assistant", "", call),
        ("environment", "12:01", None),
        ("assistant", "Noon.", None),
    ]


def test_a_text_or_one_message_is_a_turn():
    assert turns_of("hi") == [{"role": "user", "content": "hi"}]
    assert (
        turns_of("hi", "assistant")
        == turns_of({"from": "gpt", "value": "hi"})
        == [{"role": "assistant", "content": "hi"}]
    )


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"question": "x"}, r"keys=\['question'\] must hold one of messages, conversations, instruction, text\."),
        ({"conversations": [{"from": "narrator", "value": "x"}]}, "turn 1: role='narrator' must be one of system, user,"),
        ({"messages": [ASKED, {"role": "robot", "content": "x"}]}, "turn 2: role='robot' must be one of"),
        ({"text": "<|im_start|>robot\nx<|im_end|>"}, "role='robot' must be one of"),
        ({"text": "hello <|im_start|>user\nx<|im_end|>"}, "'hello' is outside of"),
        ({"text": 7}, "text=7 must be a text"),
        ({"messages": []}, "it has no turns"),
        ({"messages": ["x"]}, "turn 1: 'x' is not a message"),
        ({"messages": 7}, "7 is neither a text nor a list of messages"),
        ({"instruction": 7, "output": "x"}, "instruction=7 must be a text"),
        ({"instruction": "x", "output": "y", "history": [["a"]]}, r"history=\[\['a'\]\] must be a list of pairs"),
        ({"instruction": "x", "output": None}, "turn 2: content=None must be a text"),
        ({"messages": [ASKED, {"role": "assistant", "content": None}]}, "turn 2: content=None must be a text"),
        ({"messages": [{"role": "user", "name": "Bob", "content": "x"}]}, r"name='Bob' must be one of <\|plugin\|>"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
         "turn 1: content has the part {'type': 'image_url'.*only parts of text can be read"),
        ({"conversations": [{"from": "function_call", "value": {"name": "add"}}]}, "turn 1: call={'name': 'add'} must be"),
        ({"messages": [TOLD | {"tool_call": "x"}]}, "tool_call='x' must be"),
        ({"messages": [TOLD | {"tool_calls": 7}]}, r"tool_calls=\(7,\) must be"),
        ({"messages": [TOLD | {"tool_calls": ["x"]}]}, r"tool_calls=\['x'\] must be"),
        ({"messages": [ASKED], "system": 7}, "system=7 must be a text"),
        ({"messages": [ASKED, TOLD | {"weight": 0.5}]}, r"turn 2: weight=0\.5 must be 0 \(not trained on\) or 1"),
        ({"messages": [ASKED, TOLD | {"reasoning_content": "1 more"}]},
         "turn 2: reasoning_content='1 more' has no place in ChatML"),
        ({"messages": [ASKED, TOLD | {"thinking": "1 more"}]}, "turn 2: thinking='1 more' has no place in ChatML"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(record, sentence):
    with pytest.raises(ValueError, match=sentence):
        conversation_of(record)


def test_a_missing_key_is_a_key_error():
    with pytest.raises(KeyError, match="output"):
        conversation_of({"instruction": "x"})


@pytest.mark.parametrize(
    ("name", "kind"),
    [("alpaca_en_demo.json.gz", "alpaca"), ("alpaca_zh_demo.json.gz", "alpaca"),
     ("glaive_toolcall_zh_demo.json.gz", "sharegpt"), ("sharegpt_zh_1k.jsonl.gz", "sharegpt")],
)  # fmt: skip
def test_real_files_lose_no_word(real_data, name, kind):
    file = real_data / "sft" / name
    text = gzip.decompress(file.read_bytes()).decode()
    records = json.loads(text) if ".json." in name else [json.loads(line) for line in text.splitlines()]
    conversations = [placed.parse(conversation_of) for placed in read_records(file)]
    assert len(conversations) == len(records) > 100
    for record, messages in zip(records, conversations, strict=True):
        if kind == "alpaca":
            words = [record["instruction"], record["input"], record["output"], record.get("system", "")]
        else:
            tools = record.get("tools", "").removesuffix("[]")
            words = [record.get("system", ""), tools, *(turn["value"] for turn in record["conversations"])]
        said = [part for m in messages for part in (m["content"], m.get("tool_call", {}).get("content", ""))]
        assert "".join(said).replace("\n", "") == "".join(words).replace("\n", "")


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "user", "content": "hi \ud83d"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "\ude00"}]}]},
        {"conversations": [{"from": "human", "value": "hi \ud83d"}]},
        {"messages": [ASKED], "system": "\ud83d"},
        {"messages": [ASKED], "tools": [{"name": "\ud83d"}]},
        {"messages": [ASKED, {"role": "assistant", "content": "", "function_call": {"name": "\ud83d"}}]},
    ],
)
def test_half_of_a_character_is_refused(record):
    with pytest.raises(ValueError, match="which is half of a character") as error:
        conversation_of(record)
    str(error.value).encode()  # the sentence can be printed
