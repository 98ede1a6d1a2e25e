import pytest
import torch
from internlm2_align.reward.conditions import load_conditions
from internlm2_align.reward.network import from_language_model, load_reward, save_reward, start_reward
from internlm2_align.reward.shared import Group, pack_groups
from internlm2_align.roles.local import local_roles
from internlm2_core.checkpoint import save_llama, save_released
from internlm2_core.checkpoint.folder import read_json, read_names, write_json
from internlm2_core.jobs import convert
from internlm2_core.text.tokenizer import load_tokenizer
from safetensors.torch import load_file, save_file

PACKED = pack_groups([Group([1, 2, 3], [[4, 5], [6, 7, 5]])])


def test_the_trunk_is_the_language_model_s(language_model):
    net = from_language_model(language_model, torch.Generator().manual_seed(1))
    assert set(net.state_dict()) == {n for n in language_model.state_dict() if n.startswith("model.")} | {
        "v_head.weight"
    }
    hidden = language_model.model(torch.tensor([[1, 2, 3, 4, 5]]))[0, -1]
    expected = torch.nn.functional.linear(hidden, net.v_head.weight)
    torch.testing.assert_close(net(PACKED)[:1], expected, atol=1e-5, rtol=1e-5)


def test_a_bfloat16_network_scores_in_float32(language_model):
    net = from_language_model(language_model.bfloat16(), torch.Generator().manual_seed(1))
    assert net(PACKED).dtype == torch.float32


def test_autocast_does_not_reach_the_head(language_model):
    net = from_language_model(language_model, torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = net(PACKED)
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())


def test_released_layout_round_trip(language_model, tmp_path, tokenizer_file):
    net = from_language_model(language_model, torch.Generator().manual_seed(1))
    save_reward(tmp_path / "reward", net.size, net.state_dict(), tokenizer_file, load_conditions())
    config = read_json(tmp_path / "reward" / "config.json")
    assert config["architectures"] == ["InternLM2ForRewardModel"]
    assert config["reward_token_id"] == load_tokenizer(tokenizer_file).special("[UNUSED_TOKEN_130]")
    names = read_names(tmp_path / "reward" / "model.safetensors")
    assert "v_head.weight" in names and "output.weight" not in names
    again = load_reward(tmp_path / "reward")
    assert torch.equal(again(PACKED), net(PACKED))


def test_a_missing_head_is_never_made_up(language_model, size, tmp_path, tokenizer_file):
    save_released(tmp_path / "sft", size, language_model.state_dict().items(), tokenizer_file)
    with pytest.raises(ValueError, match=r"holds no v_head\.weight.*`internlm2 reward checkpoint="):
        load_reward(tmp_path / "sft")
    # Starting a reward model from it is asked for explicitly.
    net = start_reward(tmp_path / "sft", seed=3)
    assert torch.equal(net.v_head.weight, start_reward(tmp_path / "sft", seed=3).v_head.weight)
    assert torch.equal(net.model.norm.weight, language_model.model.norm.weight)


def test_what_is_trained_does_not_take_the_dtype_of_its_folder(language_model, size, tmp_path, tokenizer_file):
    net = from_language_model(language_model, torch.Generator().manual_seed(1))
    half = {name: weight.bfloat16() for name, weight in (net.state_dict() | language_model.state_dict()).items()}
    head = half.pop("v_head.weight")
    save_released(tmp_path / "sft", size, half.items(), tokenizer_file)
    half["v_head.weight"] = head
    del half["output.weight"]
    save_reward(tmp_path / "reward", size, half, tokenizer_file, load_conditions())
    roles = local_roles(tmp_path / "sft", tmp_path / "reward")
    trained = (start_reward(tmp_path / "sft"), roles.actor(), roles.critic())
    assert [model.model.norm.weight.dtype for model in trained] == [torch.float32] * 3
    assert roles.reward().model.norm.weight.dtype == roles.reference().model.norm.weight.dtype == torch.bfloat16


def tied(folder):
    """Take the head of a Llama folder away, as models do that share it with the embedding."""
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", {**read_json(folder / "config.json"), "tie_word_embeddings": True})
    return folder


def test_training_starts_from_any_layout(language_model, size, tmp_path, tokenizer_file):
    """Language or reward model, released or Llama, tied or not: the same trunk and the same fresh head."""
    weights = language_model.state_dict()
    save_released(tmp_path / "lm", size, weights.items(), tokenizer_file)
    for name in ("llama", "tied"):
        save_llama(tmp_path / name, size, weights.items(), tokenizer_file)
    tied(tmp_path / "tied")
    old = from_language_model(language_model, torch.Generator().manual_seed(9))
    save_reward(tmp_path / "reward", size, old.state_dict(), tokenizer_file, load_conditions())
    convert(str(tmp_path / "reward"), str(tmp_path / "classifier"), "llama")
    expected = from_language_model(language_model, torch.Generator().manual_seed(3)).state_dict()
    for name in ("lm", "llama", "tied", "reward", "classifier"):
        found = start_reward(tmp_path / name, seed=3).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), name
    assert torch.equal(load_reward(tmp_path / "classifier").v_head.weight, old.v_head.weight)
    for name in ("llama", "tied"):
        with pytest.raises(ValueError, match=r"score\.weight in Llama's layout.*`internlm2 reward checkpoint="):
            load_reward(tmp_path / name)
