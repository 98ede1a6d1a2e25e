"""Data cards, read back by the libraries that they are for."""

import json
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard
from internlm2_data.cards import write_document_card, write_token_card
from internlm2_data.document import Document
from internlm2_data.io.shards import ShardWriter

STAGES = [
    {
        "stage": name, "documents": documents, "bytes": {cell: 100 * n for cell, n in documents.items()},
        "dropped": dropped, "rewritten": {}, "num_faults": 0, "not_configured": absent,
    }
    for name, documents, dropped, absent in (
        ("format", {"zh-news": 3, "python-code": 1}, {}, []),
        ("clean", {"zh-news": 2, "python-code": 1}, {"c4.sentences": {"zh-news": 1}}, ["toxicity"]),
    )
]  # fmt: skip


def write_shards(folder: Path, suffix: str) -> None:
    (folder / "clean").mkdir(parents=True)
    for number, meta in enumerate(({"file": "a.warc", "offset": 7}, {"package": "x"}, {})):
        document = Document(f"文本 {number}", "news", "zh", meta=meta)
        with ShardWriter(folder / f"clean/{number:05d}.{suffix}") as writer:
            writer.add(document)


@pytest.mark.parametrize("suffix", ["jsonl.zst", "parquet"])
def test_datasets_reads_the_documents_by_their_card(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="package datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    write_shards(tmp_path / "web", suffix)
    write_document_card(tmp_path / "web", STAGES)
    read = datasets.load_dataset(str(tmp_path / "web"), cache_dir=str(tmp_path / "cache"))["train"]
    assert read["text"][:] == ["文本 0", "文本 1", "文本 2"]
    metas = [json.loads(meta) if isinstance(meta, str) else meta for meta in read["meta"][:]]
    assert metas[:2] == [{"file": "a.warc", "offset": 7}, {"package": "x"}]


def test_a_card_of_documents_says_what_was_counted(tmp_path: Path) -> None:
    write_shards(tmp_path / "web", "jsonl.zst")
    write_document_card(tmp_path / "web", STAGES)
    card = DatasetCard.load(tmp_path / "web/README.md")
    assert (card.data.language, card.data.size_categories) == (["zh"], "n<1K")
    for expected in (
        "3 documents, 300 bytes", "| clean | 3 | 300 | 1 | 0 | 0 |", "| clean | c4.sentences | 1 |", "- clean: toxicity.",
        "| python-code | 1 | 100 |", "The licence of the texts",
    ):  # fmt: skip
        assert expected in card.text, expected
    assert write_document_card(tmp_path, []) is None


def test_a_card_of_token_files(tmp_path: Path) -> None:
    about = {"vocabulary": 2048, "tokenizer_sha256": "ab12"}
    files = [
        {"name": "train/zh-news", "documents": 1500, "tokens": 9000, "bytes": 30000, **about},
        {"name": "long/zh-news", "documents": 10, "tokens": 800, "bytes": 2500, **about},
    ]
    write_token_card(tmp_path, files)
    card = DatasetCard.load(tmp_path / "README.md")
    assert (card.data.language, card.data.size_categories, card.data.to_dict()["viewer"]) == (["zh"], "1K<n<10K", False)
    assert "9,800 tokens" in card.text and "ab12" in card.text and "| long/zh-news | 10 | 800 | 2,500 |" in card.text
