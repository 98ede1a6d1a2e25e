"""Repositories as conversations: descriptions, order, and the end of the context."""

import json

import pytest
from internlm2_data.code.descriptions import describe_by_rule
from internlm2_data.document import Document
from internlm2_data.executor import LocalExecutor
from internlm2_data.jobs import process
from internlm2_data.pipelines import CodeConversationsPipeline


def file(path, text, language="python", repository="r"):
    about = {"repository": repository, "path": path, "folder": f"/{repository}", "licence": "MIT"}
    return Document(text, source="code", language=language, type="code", meta=about)


FILES = [
    file("b.py", '"""Uses a. And more."""\nimport a\n' + "x = a.f()\n" * 20),
    file("a.py", "# Copyright of somebody\n\n# Gives\n# numbers.\ndef f():\n    return 1\n"),
    file("README.md", "# A toy\n\nIt is ```small```.\n", "markdown"),
    file("z.py", "import b\n" * 30),
]


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        ('"""Reads\nfiles. Then more."""\n', "python", "Reads files."),
        ("#!/bin/sh\n# Copies all, e.g. links. More.\ncp\n", "shell", "Copies all, e.g."),
        ("/*\n * Licence: MIT\n */\n\n// Sorts a list\nint x;\n", "c", "Sorts a list"),
        ("/** Adds. */\nexport class A {}\n", "javascript", "Adds."),
        ("export default class A {}\nfunction b() {}\n function no() {}\n", "javascript", "Defines A and b."),
        ("pub struct A;\npub fn b() {}\ntrait C {}\n", "rust", "Defines A, b and C."),
        ("def broken(:\n", "python", "Defines broken."),
        ("x = 1\ny = 2\n", "python", "A file of python, 2 lines."),
        ("type: x\n", "yaml", "A file of yaml, 1 lines."),
        ("Text\n\nTitle\n=====\n", "rst", "Documentation: Title."),
        ("plain", "text", "Documentation."),
        ("/* never closed", "c", "A file of c, 1 lines."),
    ],
)
def test_descriptions(text, language, said):
    assert describe_by_rule([file("x", text, language)]) == [said]


def run(tmp_path, tokenizer_file, files, **settings):
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(f.to_json()) + "\n" for f in files))
    pipeline = CodeConversationsPipeline(str(tokenizer_file), **settings)
    process(pipeline, [str(tmp_path / "d.jsonl")], tmp_path / "o", LocalExecutor(0))
    lines = (tmp_path / "o/conversations.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines], json.loads((tmp_path / "o/counts.json").read_text())


def test_files_come_with_their_descriptions_in_the_order_of_imports(tmp_path, tokenizer_file):
    (record,), counts = run(tmp_path, tokenizer_file, FILES)
    assert record["files"] == ["README.md", "a.py", "b.py", "z.py"] and record["licence"] == "MIT"
    roles = [message["role"] for message in record["messages"]]
    assert roles == ["system", *["user", "assistant"] * 4]
    contents = [message["content"] for message in record["messages"]]
    assert contents[1:4] == [
        "Write `README.md`. Documentation: A toy.",
        "# A toy\n\nIt is ```small```.",
        "Write `a.py`. Gives numbers.",
    ]
    assert contents[4] == f"```python\n{FILES[1].text}```" and contents[5] == "Write `b.py`. Uses a."
    assert counts == {"repositories": 1, "conversations": 1, "files": {"kept": 4}}


@pytest.mark.parametrize("context", [250, 400, 560, 561, 562, 563, 564, 565, 900, 1200])
def test_a_conversation_ends_before_the_file_that_is_too_much(tmp_path, tokenizer_file, context):
    """Measured by the encoder of fine-tuning itself."""
    chat = pytest.importorskip("internlm2_core.text", reason="needs internlm2-core")
    records = pytest.importorskip("internlm2_records")
    encode = chat.ChatFormat(chat.load_tokenizer(tokenizer_file)).encode

    def length(messages):
        return len(encode(records.conversation_of({"messages": messages})).ids)

    (whole,), _ = run(tmp_path, tokenizer_file, FILES)
    found, counts = run(tmp_path, tokenizer_file, FILES, context=context, min_files=1)
    assert sum(counts["files"].values()) == 4
    (record,) = found
    assert length(record["messages"]) <= context
    kept = len(record["messages"])
    assert record["messages"] == whole["messages"][:kept]
    assert kept == 9 or length(whole["messages"][: kept + 2]) > context


def test_every_file_is_kept_or_counted(tmp_path, tokenizer_file):
    others = [file("only.py", "x = 1\n", repository="single"), Document("a page")]
    huge = file("huge.py", "y = 2\n" * 400)
    records, counts = run(tmp_path, tokenizer_file, [*FILES, huge, *others], context=800)
    assert [record["repository"] for record in records] == ["r"]
    assert counts["repositories"] == 2 and counts["conversations"] == 1
    assert counts["files"] == {
        "kept": 3, "longer than the context": 1, "after the end of the context": 1,
        "in a conversation of too few files": 1, "not a file of a repository": 1,
    }  # fmt: skip


def test_a_describer_of_ones_own(tmp_path, tokenizer_file):
    (record,), _ = run(tmp_path, tokenizer_file, FILES, describe=lambda files: [f"Said {len(files)}."] * len(files))
    assert record["messages"][1]["content"] == "Write `README.md`. Said 4."


def test_what_cannot_be_told(tmp_path, tokenizer_file):
    with pytest.raises(ValueError, match="must hold files of code"):
        run(tmp_path, tokenizer_file, [Document("a page")])
    assert not (tmp_path / "o/conversations.jsonl").exists() and not (tmp_path / "o/conversations.jsonl.part").exists()
    with pytest.raises(ValueError, match="min_files=0 must be 1 or more"):
        run(tmp_path, tokenizer_file, FILES, min_files=0)
