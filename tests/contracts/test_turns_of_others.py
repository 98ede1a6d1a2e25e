"""Conversations are read alike for SFT (internlm2_records) and for preferences (internlm2_align)."""

import json

import pytest
from internlm2_records import conversation_of, turns_of, with_tools

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


@pytest.mark.parametrize("name", TALKS)
def test_turns_are_the_same(name: str) -> None:
    talk = TALKS[name]
    ours = with_tools(talk, turns_of(talk.get("messages") or talk["conversations"]))
    assert ours == conversation_of(talk)
