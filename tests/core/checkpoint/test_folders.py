"""Round trips between layouts, and what is refused."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LanguageModel
from internlm2_core.checkpoint import load_llama, load_released, save_released, size_in_phase
from internlm2_core.checkpoint.any_layout import layout_of, load_model
from internlm2_core.checkpoint.start import start_model
from internlm2_core.jobs import convert
from internlm2_core.text.tokenizer import load_tokenizer
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer


@pytest.fixture
def folder(net: LanguageModel, tmp_path: Path, tokenizer_file: Path) -> Path:
    save_released(tmp_path / "model", net.size, net.state_dict().items(), tokenizer_file)
    return tmp_path / "model"


def test_released_round_trip_is_bit_equal_through_llama(net: LanguageModel, folder: Path, tmp_path: Path) -> None:
    convert(str(folder), str(tmp_path / "llama"), "llama")
    convert(str(tmp_path / "llama"), str(tmp_path / "back"), "released")
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert layout_of(tmp_path / "llama") == "llama"
    config, again = (json.loads((path / "config.json").read_text()) for path in (folder, tmp_path / "back"))
    assert config == again


def test_transformers_loads_the_llama_layout_with_its_chat_template(
    net: LanguageModel, folder: Path, tmp_path: Path
) -> None:
    convert(str(folder), str(tmp_path / "llama"), "llama")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    ids = torch.randint(0, 200, (2, 9))
    torch.testing.assert_close(theirs(ids).logits, net(ids), atol=1e-5, rtol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "llama")
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    torch.testing.assert_close(load_llama(tmp_path / "llama")(ids), net(ids))


SCALINGS: dict[str, dict[str, Any]] = {
    "linear": {},
    "dynamic": {},
    "llama3": {"rope_slow": 1.0, "rope_fast": 3.0, "rope_original_positions": 8},
    "yarn": {"rope_slow": 1.0, "rope_fast": 32.0, "rope_original_positions": 8, "rope_attention": 1.07},
}


@pytest.mark.parametrize("scaling", SCALINGS)
def test_rope_scaling_survives_in_both_layouts(net: LanguageModel, folder: Path, tmp_path: Path, scaling: str) -> None:
    # A low base, so that fast, slow and middling rotations are all among the four of a head.
    plain = net(torch.randint(0, 200, (1, 20), generator=torch.Generator().manual_seed(0)))
    net.set_positions(rope_scaling=scaling, rope_factor=2.0, max_positions=8, rope_base=100.0, **SCALINGS[scaling])
    save_released(tmp_path / "scaled", net.size, net.state_dict().items(), folder)
    convert(str(tmp_path / "scaled"), str(tmp_path / "llama"), "llama")
    ids = torch.randint(0, 200, (1, 20), generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(net(ids), plain, atol=1e-3)
    config = json.loads((tmp_path / "scaled" / "config.json").read_text())
    if scaling in ("linear", "dynamic"):  # what the published configuration code accepts, and nothing else
        assert config["rope_scaling"] == {"type": scaling, "factor": 2.0}
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    for ours in (load_released(tmp_path / "scaled"), load_llama(tmp_path / "llama")):
        assert ours.size == net.size
        torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_a_scaling_that_is_not_known_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for change, words in {
        "rope_scaling": ({"rope_type": "longrope", "factor": 4.0}, "'longrope' must be one of linear, dynamic, llama3"),
        "rope_parameters": (
            {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7},
            r"'yarn' has keys .*: {'mscale': 0.7}",
        ),
        "partial_rotary_factor": (0.5, "partial_rotary_factor=0.5 must be 1"),
        "quantization_config": ({"quant_method": "awq"}, "quantization_config is 'awq', and weights must not be"),
        "torch_dtype": ("int8", "torch_dtype='int8' must be float32"),
    }.items():
        (folder / "config.json").write_text(json.dumps(config | {change: words[0]}))
        with pytest.raises(ValueError, match=words[1]):
            load_model(folder)


def test_shards_and_index(net: LanguageModel, folder: Path, tmp_path: Path) -> None:
    save_released(tmp_path / "sharded", net.size, net.state_dict().items(), folder, shard_bytes=20_000)
    index = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    loaded = load_released(tmp_path / "sharded")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), net.parameters(), strict=True))


def damage(folder: Path, change: str) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.1.attention.wo.weight"
    if change == "lacks":
        del tensors[name]
    elif change == "surplus":
        tensors["model.layers.9.extra.weight"] = torch.zeros(2)
    elif change == "shape":
        tensors[name] = tensors[name][:-1]
    save_file(tensors, file, metadata={"format": "pt"})
    if change == "truncated":
        file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize("change", ["lacks", "surplus", "shape", "truncated"])
def test_tensors_that_do_not_fit_are_named(folder: Path, change: str) -> None:
    damage(folder, change)
    with pytest.raises(
        ValueError, match=change if change != "lacks" else r"lacks 1 tensors, model\.layers\.1\.attention\.wo"
    ):
        load_released(folder)


def test_incomplete_shards_and_broken_indexes_are_named(net: LanguageModel, folder: Path, tmp_path: Path) -> None:
    sharded = tmp_path / "sharded"
    save_released(sharded, net.size, net.state_dict().items(), folder, shard_bytes=20_000)
    index = sharded / "model.safetensors.index.json"
    whole = index.read_text()
    for text in (whole[:50], "[]", "{}", '{"weight_map": ["a"]}'):
        index.write_text(text)
        with pytest.raises(ValueError, match=r"index\.json is broken: it must be JSON with a weight_map"):
            load_model(sharded)
    index.write_text(whole.replace("model-00002", "../model-00002"))
    with pytest.raises(ValueError, match=r"names .*/\.\./model-00002.*, which is not a safetensors file of its folder"):
        load_model(sharded)
    index.write_text(whole)
    first = next(sharded.glob("model-00001*"))
    first.unlink()
    with pytest.raises(FileNotFoundError, match=rf"lacks 1 of the \d+ files of its index, {first.name} among them"):
        load_model(sharded)


@pytest.mark.parametrize("fields", [{"dtype": "bfloat16"}, {"torch_dtype": "auto"}, {}, {"dtype": None}])
def test_folders_of_other_programs_are_read(
    net: LanguageModel, folder: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    half = ((name, weight.bfloat16()) for name, weight in net.state_dict().items())
    save_released(tmp_path / "half", net.size, half, folder)
    convert(str(tmp_path / "half"), str(tmp_path / "llama"), "llama")
    for layout in ("half", "llama"):
        file = tmp_path / layout / "config.json"
        config = json.loads(file.read_text())
        del config["torch_dtype"]
        config["architectures"] = [*config["architectures"], "Another"]
        file.write_text(json.dumps(config | fields))
        weights = tmp_path / layout / "model.safetensors"
        old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
        save_file(load_file(weights) | old, weights, {"format": "pt"})
        assert load_model(tmp_path / layout).output.weight.dtype == torch.bfloat16


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="pickled weights"):
        load_released(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nope is not a model folder: it holds no config.json"):
        load_model(tmp_path / "nope")


def test_a_language_model_is_no_reward_model(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"format='reward' must be released or llama: {folder} holds a language model"
    ):
        convert(str(folder), str(tmp_path / "reward"), "reward")


def test_a_reward_model_is_a_sequence_classifier_of_llama(net: LanguageModel, folder: Path, tmp_path: Path) -> None:
    head = torch.randn(1, net.size.dim)
    tensors = {**net.state_dict(), "v_head.weight": head}
    del tensors["output.weight"]
    save_released(tmp_path / "reward", net.size, tensors.items(), folder, is_reward=True)
    table = "domains: {maths: {en: Judge the result.}}\n"
    (tmp_path / "reward" / "conditions.yaml").write_text(table)
    convert(str(tmp_path / "reward"), str(tmp_path / "classifier"), "llama")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier")
    pad, ids = theirs.config.pad_token_id, torch.randint(0, 200, (2, 9))
    ids[1, 6:] = pad
    hidden = net.model(ids)
    expected = torch.stack((hidden[0, 8], hidden[1, 5])) @ head.T
    torch.testing.assert_close(theirs(ids).logits, expected, atol=1e-5, rtol=1e-5)
    convert(str(tmp_path / "classifier"), str(tmp_path / "back"), "reward")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("reward", "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [(tmp_path / name / "conditions.yaml").read_text() for name in ("classifier", "back")] == [table] * 2
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("reward", "back")]
    score_token = load_tokenizer(folder).special("[UNUSED_TOKEN_130]")
    assert [config["reward_token_id"] for config in configs] == [score_token] * 2
    with pytest.raises(ValueError, match="holds a reward model, which has no head for words"):
        load_model(tmp_path / "classifier")


def test_a_tied_head_becomes_a_copy_of_the_embedding(
    net: LanguageModel, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(str(folder), str(tmp_path / "llama"), "llama")
    assert "tied head" not in capsys.readouterr().out
    weights, config = (tmp_path / "llama" / name for name in ("model.safetensors", "config.json"))
    tensors = load_file(weights)
    del tensors["lm_head.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tie_word_embeddings": True}))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    ids = torch.randint(0, 200, (2, 9))
    torch.testing.assert_close(load_llama(tmp_path / "llama")(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)
    convert(str(tmp_path / "llama"), str(tmp_path / "untied"), "released")
    assert "its tied head as a copy of the embedding" in capsys.readouterr().out
    untied = load_released(tmp_path / "untied")
    torch.testing.assert_close(untied(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)
    assert json.loads((tmp_path / "untied" / "config.json").read_text())["tie_word_embeddings"] is False


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("model.layers.1.mlp.up_proj.weight", None, "lacks 1 tensors, model.layers.1.feed_forward.w3.weight"),
        ("model.norm.weight", torch.ones(5), r"tensor model.norm.weight has shape \(5,\), not \(48,\)"),
        ("model.layers.0.self_attn.q_proj.bias", torch.ones(48), "surplus tensor model.layers.0.self_attn.q_proj.bias"),
        ("model.layers.0.mlp.up_proj.bias", torch.ones(96), "surplus tensor model.layers.0.feed_forward.w3.bias"),
    ],
)
def test_conversion_checks_every_tensor(
    folder: Path, tmp_path: Path, name: str, tensor: torch.Tensor | None, words: str
) -> None:
    convert(str(folder), str(tmp_path / "llama"), "llama")
    file = tmp_path / "llama" / "model.safetensors"
    tensors = {**load_file(file), name: tensor}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=words):
        convert(str(tmp_path / "llama"), str(tmp_path / "back"), "released")
    assert not (tmp_path / "back").exists()


def test_another_activation_is_refused(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu"}))
    with pytest.raises(ValueError, match="hidden_act='gelu' must be 'silu'"):
        convert(str(folder), str(tmp_path / "llama"), "llama")


def test_conversion_onto_itself_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="another folder"):
        convert(str(folder), str(folder), "llama")


def test_starting_from_another_shape_is_refused(net: LanguageModel, folder: Path) -> None:
    wanted = type(net.size)(**(vars(net.size) | {"dim": 64}))
    with pytest.raises(ValueError, match=rf"dim=64 must be 48, as in {folder}"):
        start_model(wanted, init_from=str(folder))


def test_a_phase_gives_new_positions_to_old_weights(
    net: LanguageModel, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    start_model(net.size, init_from=str(folder))
    assert not caplog.messages
    wanted = type(net.size)(**(vars(net.size) | {"rope_base": 1e6, "max_positions": 256}))
    started = start_model(wanted, init_from=str(folder))
    assert (started.model.rope.size.rope_base, started.size.max_positions) == (1e6, 256)
    own = f"rope_base=1000000.0 (it has {net.size.rope_base}), max_positions=256 (it has {net.size.max_positions})"
    assert caplog.messages == [f"{folder} is read with {own}"]
    assert torch.equal(started.output.weight, net.output.weight)


def test_training_does_not_take_the_dtype_of_the_folder(net: LanguageModel, folder: Path, tmp_path: Path) -> None:
    half = ((name, weight.bfloat16()) for name, weight in net.state_dict().items())
    save_released(tmp_path / "half", net.size, half, folder)
    assert load_released(tmp_path / "half").output.weight.dtype == torch.bfloat16
    assert start_model(net.size, init_from=str(tmp_path / "half")).output.weight.dtype == torch.float32
    trainer = L.Trainer(accelerator="cpu", precision="bf16-true", logger=False)
    with trainer.precision_plugin.module_init_context():
        assert start_model(net.size, init_from=str(folder)).output.weight.dtype == torch.bfloat16


def test_the_shape_of_a_folder_in_a_phase(net: LanguageModel, folder: Path) -> None:
    trained = net.size.max_positions
    assert size_in_phase(folder, trained) == net.size == size_in_phase(folder, 8)
    longer = size_in_phase(folder, 2 * trained, rope_base=1e6, rope_scaling="linear", rope_factor=2.0)
    wanted = {"rope_base": 1e6, "max_positions": 2 * trained, "rope_scaling": "linear", "rope_factor": 2.0}
    assert vars(longer) == vars(net.size) | wanted
    with pytest.raises(ValueError, match=rf"context={trained + 1} must be at most {trained}, .* A rope_base above"):
        size_in_phase(folder, trained + 1)
    with pytest.raises(ValueError, match="init_from=None must be a model folder"):
        size_in_phase(None, 8)


def test_a_failed_write_leaves_the_old_folder(net: LanguageModel, folder: Path) -> None:
    def broken():
        yield "output.weight", net.output.weight
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        save_released(folder, net.size, broken(), folder)
    assert load_released(folder).size == net.size
    assert [path.name for path in folder.parent.iterdir() if "draft" in path.name] == []
