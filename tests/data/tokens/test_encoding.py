"""The fast encoder gives the files of Hugging Face's, and is left where it does not."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from internlm2_data.executor import LocalExecutor
from internlm2_data.jobs import process
from internlm2_data.pipelines import TokensPipeline
from internlm2_data.tokens import token_sources
from internlm2_data.tokens.encoding import TextEncoder
from internlm2_data.tokens.fast import FastEncoder, fast_encoder
from internlm2_data.vocabulary import train_vocabulary

TEXTS = [
    "The boat left.",
    "",
    "</s> <|im_start|>user",
    "这艘船离开了港口。",
    "x = {1: 'a'}\n\n\n\tpass  ",
    "\ud800 \u00a0é",
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    pytest.importorskip("gigatoken", reason="extra fast")
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text * 9}) + "\n" for text in TEXTS[:1] + TEXTS[2:5]))
    train_vocabulary([str(folder / "a.jsonl")], folder, size=300)
    return TextEncoder(folder)


@settings(deadline=None, max_examples=25)
@given(texts=st.lists(st.text(max_size=60), max_size=4))
def test_ids_are_those_of_hugging_face(encoder, texts):
    for given_texts in (texts, TEXTS):
        assert [ids.tolist() for ids in encoder.arrays(given_texts, fast=True)] == encoder.encode(given_texts)


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for kind in ("train", "heldout")
        for path in (folder / kind).glob("*")
    }


def test_files_are_the_same_whoever_encodes(encoder, tmp_path, monkeypatch, caplog):
    lines = [
        {"text": f"{text} {number}", "language": "en"}
        for number in range(200)
        for text in TEXTS
        if "\ud800" not in text
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def encoded(name):
        pipeline = TokensPipeline(str(encoder.path), heldout=0.1)
        process(pipeline, [str(tmp_path / "a.jsonl")], tmp_path / name, LocalExecutor(0))
        return files(tmp_path / name)

    fast = encoded("fast")
    assert len(fast) == 8 and fast_encoder(encoder.path, encoder.sha256) is not None
    calls = []
    real = FastEncoder.encode

    def wrong(self, texts):
        calls.append(len(texts))
        found = real(self, texts)
        return found if len(calls) < 3 else [ids[::-1] for ids in found]

    monkeypatch.setattr(FastEncoder, "encode", wrong)
    assert encoded("wrong") == fast and len(calls) == 3
    assert re.search("gigatoken encodes '.+' otherwise than tokenizers does, which takes over", caplog.text)
    monkeypatch.setattr("internlm2_data.tokens.encoding.fast_encoder", lambda *_: None)
    assert encoded("slow") == fast


def test_tokens_that_are_looked_for_in_texts_need_hugging_face(encoder, tmp_path):
    content = json.loads(encoder.path.read_text())
    content["added_tokens"][0]["special"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert fast_encoder(tmp_path / "tokenizer.json", "other") is None


def test_documents_end_as_told(encoder, tmp_path):
    [plain], [ended] = (TextEncoder(encoder.path, end).encode(["hi"]) for end in (None, "</s>"))
    assert ended == [*plain, 2] and TextEncoder(encoder.path, "<|im_end|>").encode(["hi"])[0][:-1] == plain
    with pytest.raises(ValueError, match=r"has no token <eot> to end documents with\."):
        TextEncoder(encoder.path, "<eot>")
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "hi", "language": "en"}))
    process(
        TokensPipeline(str(encoder.path), 0.0, end=None), [str(tmp_path / "a.jsonl")], tmp_path / "t", LocalExecutor(0)
    )
    [source] = token_sources(tmp_path / "t" / "train").values()
    np.testing.assert_array_equal(source.read(0), plain)
    assert source.card["end"] is None


def test_a_file_of_several_parts_is_read_as_one(encoder, tmp_path):
    for number in range(3):
        lines = [{"text": f"{text} {number}", "language": "en"} for text in TEXTS[:3]]
        (tmp_path / f"{number}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    inputs = [str(tmp_path / f"{number}.jsonl") for number in range(3)]
    for name, size in (("one", 1 << 20), ("parts", 1)):
        process(TokensPipeline(str(encoder.path), 0.0, shard_bytes=size), inputs, tmp_path / name, LocalExecutor(0))
    [one], [parts] = (token_sources(tmp_path / name / "train").values() for name in ("one", "parts"))
    assert len(one) == len(parts) == 9 and one.manifest == parts.manifest
    for number in range(9):
        assert one.read(number).tolist() == parts.read(number).tolist()
        assert one.document_id(number) == parts.document_id(number) != ""
        assert parts.numbers_of(parts.document_id(number)[:7]) == [number]
    shard, final = (
        tmp_path / "parts" / name
        for name in ("_shards/text-00001/train/en-webpages.bin", "train/en-webpages.00001.bin")
    )
    assert shard.samefile(final), "no token is written twice"
    process(TokensPipeline(str(encoder.path), 0.0, shard_bytes=1), inputs[:1], tmp_path / "parts", LocalExecutor(0))
    names = sorted(path.name for path in (tmp_path / "parts" / "train").iterdir())
    assert names == [f"en-webpages.{ending}" for ending in ("00000.bin", "documents.npy", "json", "offsets.npy")]
    final = tmp_path / "one" / "train" / "en-webpages.00000.bin"
    final.write_bytes(final.read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"en-webpages\.00000\.bin holds \d+ tokens where its card says"):
        token_sources(tmp_path / "one" / "train")
