"""What Transformers makes of an exported folder: ids, templates, the beginning of text, and what a source says of its use."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from internlm2_core import LanguageModel, ModelSize, load_model, load_tokenizer
from internlm2_core.checkpoint import save_released
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.generation.answers import complete
from internlm2_core.jobs import convert, verify_export
from internlm2_core.text import ChatFormat
from internlm2_core.text.pieces import tokenizer_of_pieces
from internlm2_core.text.tokenizer import SPECIAL_TOKENS
from internlm2_records import turns_of, with_tools
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer

sentencepiece = pytest.importorskip("sentencepiece")

TEXTS = [
    "Hello world",
    " leading  and   many spaces ",
    "你好，世界！机器学习。",
    "a\n\n\nb\t\tc\r\n",
    "    def f(x):\n        return x + 1\n",
    "é ñ ﬁ 👩‍👩‍👧 \u200b龘靐齉",
    "▁ x▁y",
    "[UNUSED_TOKEN_12] hi",
    "0123456789" * 7,
    "",
]
NAMED = {"<|plugin|>": 141, "<|interpreter|>": 142, "<|action_end|>": 143, "<|action_start|>": 144}


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SentencePiece model of the released kind: bytes for what is unknown, spare pieces at the end."""
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "text.txt").write_text("\n".join(text for text in TEXTS * 3 if text.strip()))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=600,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        split_by_whitespace=False,
        user_defined_symbols=[f"[UNUSED_TOKEN_{i}]" for i in range(147)] + ["\n", "\n\n"],
        hard_vocab_limit=False,
    )
    return folder / "tokenizer.model"


@pytest.fixture(scope="module")
def published(pieces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with the files that a published folder has."""
    folder = tmp_path_factory.mktemp("published") / "model"
    vocab_size = load_tokenizer(pieces).vocab_size
    size = ModelSize(layers=1, dim=16, num_kv_heads=1, q_per_kv=2, ffn_dim=24, vocab_size=vocab_size, head_dim=8)
    net = LanguageModel(size)
    net.init_weights(torch.Generator().manual_seed(0), std=0.3)
    save_released(folder, size, net.state_dict().items(), pieces)
    for name in ("tokenizer.json", "generation_config.json"):
        (folder / name).unlink()
    config = json.loads((folder / "config.json").read_text())
    auto_map = {"AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": auto_map, "pad_token_id": 2}))
    said = {
        "tokenizer_class": "InternLM2Tokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
        "bos_token": "<s>",
        "eos_token": "</s>",
        "model_max_length": 4096,
        "chat_template": "{{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
        "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 9], "temperature": 0.7}))
    return folder


def ids_of(tokenizer: Any, messages: Any, **settings: Any) -> list[int]:
    """What Transformers makes of a conversation, by way of its text as vLLM does."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, **settings)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **settings)
    assert list(whole) == ids
    return ids


def test_pieces_give_the_same_ids_as_a_tokenizer_json(pieces: Path) -> None:
    ours, converted = load_tokenizer(pieces), tokenizer_of_pieces(pieces)
    converted.encode_special_tokens = True
    for text in TEXTS:
        ids = converted.encode(text, add_special_tokens=False).ids
        assert ids == ours.encode(text)
        assert converted.decode(ids, skip_special_tokens=False) == ours.decode(ids)
        assert ours.decode(ids) == text.replace("▁", " ")
    for name, number in NAMED.items():
        assert converted.token_to_id(name) == ours.special(name) == ours.special(f"[UNUSED_TOKEN_{number}]")


def test_the_released_tokenizer_gives_the_same_ids_as_a_tokenizer_json(real_data: Path) -> None:
    file = real_data / "tokenizer" / "tokenizer_internlm2.model"
    if not file.is_file():
        pytest.skip(f"no released tokenizer at {file}")
    ours, converted = load_tokenizer(file), tokenizer_of_pieces(file)
    converted.encode_special_tokens = True
    corpus = [path.read_text(errors="replace") for path in sorted(Path(__file__).parents[1].glob("*.py"))]
    for text in [*TEXTS, *corpus, "ＥＦＧ 混合 text，数字123", "Ünïcödé\n\n\n\nend"]:
        assert converted.encode(text, add_special_tokens=False).ids == ours.encode(text)


def test_text_begins_with_bos_where_the_folder_says_so(published: Path, pieces: Path, tmp_path: Path) -> None:
    bos = 1
    assert load_tokenizer(published).begin == (bos,)
    assert load_tokenizer(pieces).begin == ()  # a bare file says nothing
    prompt = ChatFormat(load_tokenizer(published)).prompt([{"role": "user", "content": "hi"}])
    assert prompt[0] == bos
    assert bos not in prompt[1:]
    for layout in ("llama", "released"):
        convert(str(published), str(tmp_path / layout), layout)
        assert load_tokenizer(tmp_path / layout).begin == (bos,)
        theirs = AutoTokenizer.from_pretrained(tmp_path / layout)
        assert theirs.encode("hi") == [bos, *load_tokenizer(published).encode("hi")]
        assert ids_of(theirs, [{"role": "user", "content": "hi"}], add_generation_prompt=True) == prompt
    # Said otherwise, it is otherwise, and a model that is saved with the tokenizer keeps it.
    file = tmp_path / "released" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"add_bos_token": False}))
    assert load_tokenizer(tmp_path / "released").begin == ()
    size = ModelSize(layers=1, dim=8, num_kv_heads=1, q_per_kv=1, ffn_dim=8, vocab_size=700, head_dim=8)
    net = LanguageModel(size)
    for source, begin in ((tmp_path / "released", ()), (published, (bos,))):
        save_released(tmp_path / "tuned", size, net.state_dict().items(), source)
        assert load_tokenizer(tmp_path / "tuned").begin == begin
        template = json.loads((tmp_path / "tuned" / "tokenizer_config.json").read_text())["chat_template"]
        assert template.startswith("{{- bos_token -}}") == bool(begin)


def test_generation_puts_the_beginning_before_plain_text(published: Path) -> None:
    asked: list[list[int]] = []

    class Engine:
        def generate(self, prompts: Any, sampling: Any, on_token: Any = None) -> Any:
            asked.extend(map(list, prompts))
            return LocalEngine(LanguageModel(ModelSize(1, 8, 1, 1, 8, 700, 8))).generate(prompts, sampling)

    tokenizer = load_tokenizer(published)
    complete(Engine(), tokenizer, "hi", Sampling(max_new_tokens=1))
    assert asked == [[1, *tokenizer.encode("hi")]]


def test_convert_carries_what_a_folder_says_of_its_use(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(str(published), str(tmp_path / "llama"), "llama")
    assert "without its remote code (auto_map)" in capsys.readouterr().out
    read = {file.name: json.loads(file.read_text()) for file in (tmp_path / "llama").glob("*.json")}
    before = json.loads((published / "tokenizer_config.json").read_text())
    config, said = read["config.json"], read["tokenizer_config.json"]
    assert read["generation_config.json"] == {"eos_token_id": [2, 9], "temperature": 0.7}
    assert [config[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [1, 2, 2]
    assert said["chat_template"] == before["chat_template"]
    assert said["model_max_length"] == 4096
    assert "auto_map" not in said
    assert "auto_map" not in config
    assert {token["content"] for token in said["added_tokens_decoder"].values()} == set(SPECIAL_TOKENS)


CONTENTS = ["hi", "\nbreak first", "\n\n  code", "  two spaces", " one", "ends\n", "ends  ", "", "你好\n", "\t- item"]
WEATHER = {"name": "weather", "arguments": {"city": "上海", "days": 2}}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "it's <b>", "parameters": {}}}]
CONVERSATIONS: list[list[dict[str, Any]]] = [
    *([{"role": "user", "content": content}, {"role": "assistant", "content": content}] for content in CONTENTS),
    [
        {"role": "system", "content": "\nBe brief."},
        {"role": "user", "content": "w?"},
        {"role": "assistant", "content": "ok", "tool_call": {"tool": "<|plugin|>", "content": '\n{"a": 1}'}},
        {"role": "environment", "name": "<|plugin|>", "content": "\n7"},
    ],
    [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "w"}, {"type": "text", "text": "?"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": WEATHER}]},
        {"role": "tool", "content": "7", "name": "weather", "tool_call_id": "1"},
        {"role": "assistant", "content": "Both:", "tool_calls": [{"function": WEATHER}, {"function": WEATHER}]},
    ],
    [
        {"role": "user", "content": "w?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}],
        },
    ],
    [{"role": "system", "content": "only a system turn"}],
]


@pytest.mark.parametrize("kind", ["pieces", "json"])
@pytest.mark.parametrize("messages", CONVERSATIONS, ids=range(len(CONVERSATIONS)))
def test_the_template_gives_the_ids_of_training(
    kind: str, messages: list[dict[str, Any]], exported: dict[str, Path]
) -> None:
    folder = exported[kind]
    theirs, ours = AutoTokenizer.from_pretrained(folder), ChatFormat(load_tokenizer(folder))
    for tools in (None, TOOLS):
        turns = with_tools({"tools": tools}, turns_of(messages))
        for opens in (True, False):
            wanted = ours.encode(turns, add_generation_prompt=opens).ids
            assert ids_of(theirs, messages, add_generation_prompt=opens, tools=tools) == wanted


@pytest.fixture(scope="module")
def exported(pieces: Path, tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of our own models with either kind of tokenizer."""
    made = {}
    for kind, file in (("pieces", pieces), ("json", tokenizer_file)):
        made[kind] = tmp_path_factory.mktemp("exported") / kind
        size = ModelSize(1, 8, 1, 1, 8, vocab_size=700, head_dim=8)
        save_released(made[kind], size, LanguageModel(size).state_dict().items(), file)
    return made


def test_the_vocabulary_joins_line_breaks(pieces: Path) -> None:
    """Or the test above would not tell encoding at once from encoding in parts."""
    tokenizer = load_tokenizer(pieces)
    assert tokenizer.encode("user\n\n") != [*tokenizer.encode("user\n"), *tokenizer.encode("\n")]


@pytest.fixture
def foreign(published: Path, tmp_path: Path) -> Path:
    """A Llama folder whose vocabulary has no ChatML, and other names for its ends."""
    folder = tmp_path / "foreign"
    convert(str(published), str(folder), "llama")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|begin|>": 0, "<|end|>": 1} | {char: i + 2 for i, char in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer.model").unlink()
    said = {"bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}, "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(said | {"chat_template": "[INST]"}))
    return folder


def test_a_vocabulary_without_chatml_converts_and_continues_text(foreign: Path, tmp_path: Path) -> None:
    convert(str(foreign), str(tmp_path / "released"), "released")
    convert(str(tmp_path / "released"), str(tmp_path / "llama"), "llama")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "llama")
    assert (theirs.bos_token, theirs.eos_token, theirs.chat_template) == ("<|begin|>", "<|end|>", "[INST]")
    tokenizer = load_tokenizer(tmp_path / "llama")
    assert tokenizer.begin == (0,)
    assert theirs.encode("hi") == [0, *tokenizer.encode("hi")]
    with pytest.raises(ValueError, match=r"lacks <\|im_start\|>, <\|im_end\|> of the chat format"):
        ChatFormat(tokenizer)


def test_convert_adds_the_names_of_the_chat_format(foreign: Path, tmp_path: Path) -> None:
    before = load_tokenizer(foreign)
    convert(str(foreign), str(tmp_path / "chat"), "released", chat_names=True)
    convert(str(tmp_path / "chat"), str(tmp_path / "llama"), "llama")
    ours = load_tokenizer(tmp_path / "chat")
    assert ours.begin == before.begin
    assert [ours.special(name) for name in ("<s>", "</s>")] == [0, 1]
    assert ours.encode("hi <|im_end|>") == before.encode("hi <|im_end|>")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "llama")
    wanted = ChatFormat(ours).prompt(CONVERSATIONS[1][:1])  # type: ignore[arg-type]
    assert ids_of(theirs, CONVERSATIONS[1][:1], add_generation_prompt=True) == wanted
    # The rows that were there are as they were, and a vocabulary that does not fit makes new ones.
    old, new = (load_model(folder) for folder in (foreign, tmp_path / "llama"))
    assert torch.equal(old.output.weight, new.output.weight)
    small = dict(old.state_dict())
    for name in ("model.tok_embeddings.weight", "output.weight"):
        small[name] = small[name][:258]
    save_released(tmp_path / "small", replace(old.size, vocab_size=258), small.items(), foreign)
    convert(str(tmp_path / "small"), str(tmp_path / "grown"), "released", chat_names=True)
    net = load_model(tmp_path / "grown")
    assert net.size.vocab_size == 320
    assert torch.equal(net.output.weight[:258], small["output.weight"])
    torch.testing.assert_close(net.output.weight[258:], small["output.weight"].mean(0).expand(62, -1))


def test_a_folder_with_a_broken_tokenizer_is_named(foreign: Path) -> None:
    for name in ("tokenizer_config.json", "tokenizer.json"):
        whole = (foreign / name).read_text()
        (foreign / name).write_text("{")
        with pytest.raises(ValueError, match=name):
            load_tokenizer(foreign)
        (foreign / name).write_text(whole)
    shutil.copyfile(foreign / "config.json", foreign / "tokenizer_config.json")
    assert load_tokenizer(foreign).begin == ()


def test_an_export_is_verified_with_transformers(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llama = tmp_path / "llama"
    with pytest.raises(ValueError, match="has the released layout"):
        verify_export(str(published))
    convert(str(published), str(llama), "llama")
    figures = verify_export(str(llama))
    assert figures["logit_difference"] < 1e-4
    assert figures["texts"] == 6
    assert "the same 16 greedy tokens" in capsys.readouterr().out
    said = json.loads((llama / "tokenizer_config.json").read_text())
    (llama / "tokenizer_config.json").write_text(json.dumps(said | {"chat_template": "{{ messages[0]['content'] }}"}))
    with pytest.raises(ValueError, match="Ids of the conversation differ"):
        verify_export(str(llama))
