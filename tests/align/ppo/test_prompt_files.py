"""Prompts as people have them."""

import gzip
import json
from collections import Counter

import pytest
from internlm2_align.ppo.prompt_files import PromptFile, prompt_files, read_prompts
from internlm2_core.text.chat import ChatFormat

ASKED = {"role": "user", "content": "2+2=?"}
SAID = {"role": "assistant", "content": "4"}


@pytest.fixture
def read(tmp_path, tokenizer):
    """The prompts of records, and what was counted."""

    def read(*records, domains=None, limit=400, on_bad="raise", **file):
        path = tmp_path / "p.jsonl"
        path.write_text(
            "".join((r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in records)
        )
        counts = Counter()
        files = [PromptFile(path, **file)]
        return list(read_prompts(files, ChatFormat(tokenizer), domains or {}, limit, counts, on_bad)), counts

    return read


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "2+2=?"},
        {"prompt": [ASKED]},
        {"messages": [ASKED]},
        {"messages": [ASKED, SAID]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "2+2=?"}]}, SAID]},
        {"messages": [{"role": "human", "content": "2+2=?"}]},
        {"conversations": [{"from": "human", "value": "2+2=?"}, {"from": "gpt", "value": "4"}]},
        {"conversations": [{"from": "human", "value": "2+2=?"}]},
        {"instruction": "2+2=?"},
        {"instruction": "2+2=?", "input": "", "output": "4"},
        {"text": "2+2=?"},
        {"text": "<|im_start|>user\n2+2=?<|im_end|>\n"},
        {"text": "<|im_start|>user\n2+2=?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"},
    ],
)
def test_forms_of_one_prompt(read, tokenizer, record):
    [prompt], counts = read(record, domain="maths")
    assert prompt.messages == (ASKED,) and list(prompt.ids) == ChatFormat(tokenizer).prompt([ASKED])
    assert (prompt.domain, prompt.language, prompt.record) == ("maths", "en", record) and not counts


def test_dialogues_keep_their_turns_tools_and_system_prompt(read):
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    turns = [ASKED, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "4"}]
    record = {"system": "Be brief.", "tools": [{"name": "add"}], "messages": turns, "meta": {"language": "zh-CN"}}
    [prompt], _ = read(record, {**record, "messages": [*turns, SAID]}, domain="maths", on_bad="skip")
    roles = [(turn["role"], turn.get("name")) for turn in prompt.messages]
    assert roles == [("system", None), ("system", "<|plugin|>"), ("user", None), ("assistant", None),
                     ("environment", "<|plugin|>")]  # fmt: skip
    assert prompt.messages[3]["tool_call"]["content"] == '{"name": "add", "arguments": {"a": 2}}'
    assert prompt.language == "zh-CN"


def test_where_domain_and_language_come_from(read):
    records = [
        {"prompt": "a", "domain": "poetry", "task": "sum", "language": "fr"},
        {"prompt": "b", "task": "sum"},
        {"prompt": "c", "task": "sort"},
        {"prompt": "d", "meta": {"domain": "code", "language": "en"}},
    ]
    found, _ = read(*records, domains={"sum": "maths"}, domain="helpful", language="zh")
    assert [(p.domain, p.language) for p in found] == [
        ("poetry", "fr"), ("maths", "zh"), ("helpful", "zh"), ("code", "en"),
    ]  # fmt: skip
    found, counts = read(*records, domains={"sum": "maths"})
    assert [p.domain for p in found] == ["poetry", "maths", "code"] and counts == {"other_task": 1}


def test_what_is_left_out_is_counted(read):
    found, counts = read(
        {"prompt": "1"}, {"prompt": "1"}, {"prompt": "1", "domain": "helpful"}, {"prompt": "9" * 500},
        domain="maths", on_bad="skip",
    )  # fmt: skip
    assert [p.domain for p in found] == ["maths", "helpful"] and counts == {"duplicate": 1, "too_long": 1}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"messages": []}, "it has no turns"),
        ({"messages": [SAID]}, "it asks nothing: before the reply is nothing"),
        ({"prompt": " "}, "it asks nothing: before the reply is user: ' '"),
        ({"messages": [{"role": "system", "content": "Be brief."}]}, "it asks nothing: before the reply is system"),
        ({"messages": [ASKED, SAID, SAID]}, "it asks nothing: before the reply is assistant"),
        ({"messages": [{"role": "user", "content": None}, SAID]}, "content=None must be a text"),
        ({"messages": ["2+2=?", "4"]}, "'2\\+2=\\?' is not a message"),
        ({"question": "2+2=?"}, "must hold one of messages, conversations"),
        ({"prompt": "x", "domain": 3}, "domain=3 must be the name of a condition prompt"),
        ('{"prompt": "hi \\ud83d"}', "holds '\\\\ud83d', which is half of a character"),
        ("{", "is broken JSON"),
    ],
)
def test_bad_records_are_refused_by_line_or_counted(read, record, message):
    with pytest.raises(ValueError, match=rf"p\.jsonl, line 2:? ?.*{message}.*on_bad=skip counts such records"):
        read({"prompt": "1"}, record, domain="maths")
    found, counts = read({"prompt": "1"}, record, domain="maths", on_bad="skip")
    assert len(found) == 1 and counts == {"malformed": 1}


def test_a_record_without_domain_says_how_to_give_one(read):
    with pytest.raises(ValueError, match=r"names no domain\. Add `domain` to it, .*\{path: FILE, domain: maths\}"):
        read({"prompt": "1"})


def test_files_are_read_as_other_jobs_read_them(tmp_path, tokenizer):
    # A line separator inside of a text ends no line.
    line = json.dumps({"prompt": "1+1\u2028?"}, ensure_ascii=False) + "\n\n"
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    files = prompt_files({"path": tmp_path / "a.jsonl.gz", "domain": "maths"})
    assert len(list(read_prompts(files, ChatFormat(tokenizer), {}, 60, Counter()))) == 1
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        list(read_prompts(prompt_files(str(tmp_path / "none")), ChatFormat(tokenizer), {}, 60, Counter()))
