import pytest
import torch
from internlm2_align.reward.conditions import load_conditions
from internlm2_align.reward.network import from_language_model, load_reward, save_reward, start_reward
from internlm2_align.reward.shared import Group, pack_groups
from internlm2_core.checkpoint import save_released
from internlm2_core.checkpoint.folder import read_json, read_names

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
    assert read_json(tmp_path / "reward" / "config.json")["architectures"] == ["InternLM2ForRewardModel"]
    names = read_names(tmp_path / "reward" / "model.safetensors")
    assert "v_head.weight" in names and "output.weight" not in names
    again = load_reward(tmp_path / "reward")
    assert torch.equal(again(PACKED), net(PACKED))


def test_a_missing_head_is_never_made_up(language_model, size, tmp_path, tokenizer_file):
    save_released(tmp_path / "sft", size, language_model.state_dict().items(), tokenizer_file)
    with pytest.raises(ValueError, match=r"holds no v_head\.weight"):
        load_reward(tmp_path / "sft")
    # Starting a reward model from it is asked for explicitly.
    net = start_reward(tmp_path / "sft", seed=3)
    assert torch.equal(net.v_head.weight, start_reward(tmp_path / "sft", seed=3).v_head.weight)
    assert torch.equal(net.model.norm.weight, language_model.model.norm.weight)
