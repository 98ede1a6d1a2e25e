"""Packed documents never see each other."""

import pytest
import torch
from internlm2_core import LanguageModel
from internlm2_core.nn.attend import MaskedAttend, SDPAttend, sdpa
from internlm2_core.nn.attend.sdpa import groups_of_like_length
from internlm2_core.nn.segments import Segments

Packed = tuple[torch.Tensor, torch.Tensor]


def test_segments_are_cut_at_every_restart_and_row(packed: Packed) -> None:
    segments = Segments.of_positions(packed[1])
    assert segments.lengths == (5, 9, 2, 1, 15)
    assert segments.cu_seqlens.tolist() == [0, 5, 14, 16, 17, 32]
    assert segments.document_ids[0].tolist() == [0] * 5 + [1] * 9 + [2] * 2
    assert segments.max_length == 15 and not segments.is_whole_rows
    assert Segments.whole_rows(3, 4, torch.device("cpu")).is_whole_rows


def test_a_packed_row_equals_its_documents_alone(net: LanguageModel, packed: Packed) -> None:
    ids, positions = packed
    together = net(ids, positions)[0]
    alone = [net(part[None])[0] for part in ids[0].split([5, 9, 2])]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


# Some are short, all are, none is, and all have one length.
@pytest.mark.parametrize(
    ("lengths", "short"), [((7, 1, 24, 2, 30), 8), ((7, 1, 24, 2, 30), 64), ((7, 25, 32), 1), ((8,) * 8, 1)]
)
def test_back_ends_agree_forward_and_backward(
    lengths: tuple[int, ...], short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdpa, "SHORT", short * 4 * 8)
    segments = Segments(lengths, rows=2, device=torch.device("cpu"))
    outs, gradients = [], []
    for attend in (SDPAttend(), MaskedAttend()):
        generator = torch.Generator().manual_seed(3)
        q = torch.randn(2, 32, 4, 8, generator=generator, requires_grad=True)
        k, v = (torch.randn(2, 32, 2, 8, generator=generator, requires_grad=True) for _ in range(2))
        out = attend(q, k, v, segments)
        out.square().sum().backward()
        outs.append(out)
        gradients.append((q.grad, k.grad, v.grad))
    torch.testing.assert_close(*outs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)


def test_groups_hold_every_document_once_with_little_padding() -> None:
    lengths = (512, 16, 500, 17, 300, 1, 16)
    groups = list(groups_of_like_length(lengths))
    assert sorted(index for group in groups for index in group) == list(range(7))
    for group in groups:
        padded = lengths[group[0]] * len(group)
        assert padded <= 1.25 * sum(lengths[index] for index in group)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["sdpa", "varlen", "flash2", "flash3", "flash4", "flex"])
def test_gpu_back_ends_agree_with_the_mask(name: str) -> None:
    from internlm2_core.nn.attend import attend_of

    try:
        attend = attend_of(name)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    segments = Segments((100, 28, 1, 127), rows=2, device=torch.device("cuda"))
    q = torch.randn(2, 128, 8, 64, device="cuda", dtype=torch.bfloat16)
    k, v = (torch.randn(2, 128, 4, 64, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    torch.testing.assert_close(attend(q, k, v, segments), MaskedAttend()(q, k, v, segments), atol=2e-2, rtol=2e-2)
