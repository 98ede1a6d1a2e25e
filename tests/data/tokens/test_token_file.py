import json
import pickle
from hashlib import sha256

import numpy as np
import pytest
from internlm2_data.tokens import TokenSource, TokenWriter, token_sources


def write(path, documents, vocabulary=100):
    with TokenWriter(path, vocabulary, {"language": "zh"}) as out:
        for document in documents:
            out.add(document)


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "zh", [[1, 2, 3], [], [4], [5, 6]])
    source = TokenSource(tmp_path / "zh.json")
    assert (len(source), source.num_tokens, source.name) == (3, 6, "zh")
    assert [source.read(i).tolist() for i in range(3)] == [[1, 2, 3], [4], [5, 6]]
    assert source.read(0, 1, 2).tolist() == [2]
    assert source.card["language"] == "zh"
    assert len(source.at_least(2)) == 2


@pytest.mark.parametrize(("vocabulary", "dtype", "size"), [(65_536, "uint16", 2), (65_537, "uint32", 4)])
def test_bytes_on_disk(tmp_path, vocabulary, dtype, size):
    write(tmp_path / "en", [[vocabulary - 1]], vocabulary)
    data = (tmp_path / "en.bin").read_bytes()
    assert data == (vocabulary - 1).to_bytes(size, "little")
    assert json.loads((tmp_path / "en.json").read_text())["dtype"] == dtype
    assert np.load(tmp_path / "en.offsets.npy").tolist() == [0, 1]


def test_pickles_as_its_path(tmp_path):
    write(tmp_path / "en", [[1] * 50_000])
    source = TokenSource(tmp_path / "en")
    source.read(0)
    dump = pickle.dumps(source)
    assert len(dump) < 1000
    assert pickle.loads(dump).num_tokens == 50_000


def test_a_write_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="Token id 100 does not fit a vocabulary of 100"):
        write(tmp_path / "en", [[1], [100]])
    assert list(tmp_path.iterdir()) == []


def test_missing_files_and_contradictions(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a token file"):
        TokenSource(tmp_path / "en")
    with pytest.raises(FileNotFoundError, match=r"holds no token files\. `internlm2 process pipeline=tokens`"):
        token_sources(tmp_path)
    write(tmp_path / "en", [[1, 2]])
    assert list(token_sources(tmp_path)) == ["en"]
    with pytest.raises(FileNotFoundError, match="zh"):
        token_sources(tmp_path, ["en", "zh"])
    (tmp_path / "en.bin").write_bytes(b"\0\0")
    with pytest.raises(ValueError, match="holds 1 tokens where its card says 2"):
        TokenSource(tmp_path / "en")
    with pytest.raises(ValueError, match="no document of 9 tokens"):
        TokenSource(tmp_path / "en", min_tokens=9)


def test_token_files_of_another_tokenizer_are_refused(tmp_path):
    mine, other = tmp_path / "tokenizer.json", tmp_path / "other.json"
    mine.write_text("{}")
    other.write_text("[]")
    with TokenWriter(tmp_path / "en", 100, {"tokenizer_sha256": sha256(b"{}").hexdigest()}) as writer:
        writer.add([1, 2])
    for fine in (mine, tmp_path, tmp_path / "tokenizer.model", None):
        assert list(token_sources(tmp_path, tokenizer=fine)) == ["en"]
    with pytest.raises(ValueError, match=r"en was encoded with another tokenizer \(44136fa355b3\) than .*other.json"):
        token_sources(tmp_path, tokenizer=other)
