"""Three projections compute what the fused one computes, and are saved as it."""

from copy import deepcopy
from pathlib import Path

import torch
from internlm2_core import LanguageModel
from internlm2_core.checkpoint import load_released, save_released
from internlm2_core.checkpoint.start import start_model
from internlm2_core.nn.split import join_wqkv, split_projections


def test_gradients_and_logits_stay(net: LanguageModel, packed: tuple[torch.Tensor, torch.Tensor]) -> None:
    split, (ids, positions) = deepcopy(net), packed
    split_projections(split)
    torch.testing.assert_close(split(ids, positions), net(ids, positions), atol=1e-5, rtol=1e-5)
    for each in (split, net):
        each(ids, positions, labels_BT=ids).cross_entropy.backward()
    for ours, fused in zip(split.model.layers, net.model.layers, strict=True):
        parts = (ours.attention.wq.weight.grad, ours.attention.wk.weight.grad, ours.attention.wv.weight.grad)
        joined = join_wqkv(*parts, net.size.q_per_kv, net.size.head_dim)
        torch.testing.assert_close(joined, fused.attention.wqkv.weight.grad, atol=1e-4, rtol=1e-4)


def test_saved_as_one(net: LanguageModel, tmp_path: Path, tokenizer_file: Path) -> None:
    save_released(tmp_path / "fused", net.size, net.state_dict().items(), tokenizer_file)
    split = start_model(net.size, init_from=str(tmp_path / "fused"), is_split=True)
    assert not hasattr(split.model.layers[0].attention, "wqkv")
    save_released(tmp_path / "again", split.size, split.state_dict().items(), tokenizer_file)
    again = load_released(tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), net.parameters(), strict=True))
