import json

import pytest
from internlm2_data.vocabulary import SPECIAL_TOKENS, train_vocabulary
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    lines = [
        {"text": "the cat sat on the mat and the dog sat on the log in 2024 " * 20, "language": "en"} for _ in range(20)
    ]
    lines += [{"text": "猫坐在垫子上，狗坐在木头上，今天天气很好。" * 20, "language": "zh"} for _ in range(20)]
    lines += [{"text": "def f(x):\n    return x + 1\n" * 20, "language": "python", "type": "code"}]
    (folder / "a.jsonl").write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), "utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    train_vocabulary([str(corpus)], folder, size=330, single_digits=True)
    return folder


def test_what_is_encoded_is_decoded(trained):
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    for text in ("the cat", "猫坐在垫子上", "unseen words and ☃ signs\n\n  indented\t", "a1b22c333", "鬱"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_digits_are_single_and_special_tokens_have_ids(trained):
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    assert [tokenizer.id_to_token(i) for i in tokenizer.encode("2024").ids] == list("2024")
    assert [tokenizer.token_to_id(name) for name in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))
    assert tokenizer.encode("<|im_end|>").ids == [tokenizer.token_to_id("<|im_end|>")]


def test_the_card(trained):
    card = json.loads((trained / "card.json").read_text())
    assert card["size"] == 330
    assert set(card["bytes_per_token"]) == {"en", "zh", "code"}
    assert all(ratio >= 1.0 for ratio in card["bytes_per_token"].values())


def test_the_card_measures_other_vocabularies_on_the_same_texts(corpus, trained, tmp_path):
    same, bytes_alone = str(trained / "tokenizer.json"), tmp_path / "bytes.json"
    blank = Tokenizer.from_str((trained / "tokenizer.json").read_text())
    blank.save(str(bytes_alone))
    record = json.loads(bytes_alone.read_text())
    record["model"]["merges"] = []
    bytes_alone.write_text(json.dumps(record))
    train_vocabulary(
        [str(corpus)], tmp_path / "v", size=330, single_digits=True, others={"same": same, "bytes": str(bytes_alone)}
    )
    card = json.loads((tmp_path / "v" / "card.json").read_text())
    assert card["others"]["same"] == {"size": 330, "bytes_per_token": card["bytes_per_token"]}
    assert card["others"]["bytes"]["bytes_per_token"] == {"en": 1.0, "zh": 1.0, "code": 1.0}
    with pytest.raises(FileNotFoundError, match=r"others\.gone=nowhere is not there"):
        train_vocabulary([str(corpus)], tmp_path / "w", size=330, others={"gone": "nowhere"})
    assert not (tmp_path / "w").exists()


def test_training_is_deterministic(corpus, trained, tmp_path):
    train_vocabulary([str(corpus)], tmp_path, size=330, single_digits=True)
    assert (tmp_path / "tokenizer.json").read_bytes() == (trained / "tokenizer.json").read_bytes()


def test_digits_may_be_grouped(corpus, tmp_path):
    train_vocabulary([str(corpus)], tmp_path, size=330, single_digits=False)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert len(tokenizer.encode("202").ids) < 3


def test_what_cannot_be_trained(corpus, tmp_path):
    with pytest.raises(ValueError, match="size=200 must be above"):
        train_vocabulary([str(corpus)], tmp_path, size=200)
    with pytest.raises(ValueError, match=r"size=4000 must be \d+ or less"):
        train_vocabulary([str(corpus)], tmp_path, size=4000)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match="hold no text"):
        train_vocabulary([str(tmp_path / "empty.jsonl")], tmp_path / "out")
