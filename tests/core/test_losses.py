from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from internlm2_core import LanguageModel, ModelSize
from internlm2_core.losses import head_losses
from torch import nn


def case() -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(2, 11, 8, requires_grad=True)
    labels = torch.randint(0, 50, (2, 11))
    labels[0, 3] = labels[1, 10] = -100
    return hidden, nn.Linear(8, 50, bias=False), labels


def test_chunks_change_neither_loss_nor_gradient() -> None:
    results = []
    for max_logits in (10_000, 150):  # all at once; three positions at a time
        hidden, head, labels = case()
        loss, z = head_losses(hidden, head, labels, max_logits, with_z=True)
        (loss + 0.1 * z).backward()
        results.append((loss.detach(), z.detach(), hidden.grad, head.weight.grad))
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-5)


def test_sums_equal_double_precision() -> None:
    hidden, head, labels = case()
    loss, z = head_losses(hidden, head, labels, 150, with_z=True)
    logits = hidden.double() @ head.weight.double().T
    kept = labels != -100
    expected = F.nll_loss(logits.log_softmax(-1)[kept], labels[kept], reduction="sum")
    torch.testing.assert_close(loss.double(), expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(z.double(), logits.logsumexp(-1)[kept].square().sum(), atol=1e-4, rtol=1e-5)


def gradients(dtype: torch.dtype, max_logits: int, with_z: bool) -> list[torch.Tensor]:
    hidden, head, labels = case()
    hidden = hidden.detach().to(dtype).requires_grad_()
    head.to(dtype)
    loss = head_losses(hidden, head, labels, max_logits, with_z).cross_entropy / 7
    loss.backward()
    assert hidden.grad is not None
    assert head.weight.grad is not None
    return [loss.detach(), hidden.grad, head.weight.grad]


@pytest.mark.parametrize("max_logits", [10_000, 150])
def test_gradients_taken_along_equal_those_of_autograd(max_logits: int) -> None:
    """With the z-loss asked for (and not used) the loss goes through autograd."""
    torch.testing.assert_close(gradients(torch.float32, max_logits, False), gradients(torch.float32, max_logits, True))


def test_half_precision_stays_near_double() -> None:
    exact = gradients(torch.float64, 150, True)
    for ours, theirs in zip(gradients(torch.bfloat16, 150, False), exact, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=2e-2, rtol=5e-2)


def test_under_autocast_the_head_keeps_its_dtype() -> None:
    hidden, head, labels = case()
    with torch.autocast("cpu", torch.bfloat16):
        loss = head_losses(hidden, head, labels, 150).cross_entropy
    loss.backward()
    assert (loss.dtype, head.weight.grad.dtype, hidden.grad.dtype) == (torch.float32,) * 3
    exact = gradients(torch.float32, 150, True)[2]
    torch.testing.assert_close(head.weight.grad / 7, exact, atol=2e-2, rtol=5e-2)


def test_a_frozen_head_costs_no_gradient() -> None:
    hidden, head, labels = case()
    head.requires_grad_(False)
    head_losses(hidden, head, labels, 150).cross_entropy.backward()
    assert hidden.grad is not None
    assert head.weight.grad is None


def test_a_second_backward_pass_is_refused() -> None:
    hidden, head, labels = case()
    loss = head_losses(hidden, head, labels, 150).cross_entropy
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="Compute it again"):
        loss.backward()


def test_a_loss_that_is_kept_keeps_no_gradient() -> None:
    hidden, head, labels = case()
    loss: Any = head_losses(hidden, head, labels, 150).cross_entropy
    assert loss.grad_fn.weight_grad.shape == head.weight.shape
    loss.backward()
    assert loss.grad_fn.weight_grad is None and loss.grad_fn.hidden_grad is None


def test_liger_is_refused_where_it_cannot_run(net: LanguageModel, packed: tuple[torch.Tensor, torch.Tensor]) -> None:
    net.head_loss = "liger"
    with pytest.raises(
        (ModuleNotFoundError, ValueError),
        match=r"head_loss='liger' needs liger-kernel|head_loss='liger' does not run on cpu",
    ):
        net(*packed, labels_BT=packed[0])


@pytest.mark.gpu
@pytest.mark.skipif(
    find_spec("liger_kernel") is None or not torch.cuda.is_available(), reason="needs liger-kernel and a CUDA device"
)
def test_liger_gives_the_loss_and_gradients_of_chunks(
    net: LanguageModel, packed: tuple[torch.Tensor, torch.Tensor]
) -> None:
    net, (ids, positions) = net.cuda(), (x.cuda() for x in packed)
    found = []
    for kind in ("chunked", "liger"):
        net.head_loss = kind
        net.zero_grad()
        loss = net(ids, positions, labels_BT=ids).cross_entropy
        loss.backward()
        found.append([loss.detach(), net.output.weight.grad.clone(), net.model.norm.weight.grad.clone()])
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


def test_a_long_row_never_has_all_its_logits(size: ModelSize, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor between the blocks and the loss is one chunk, by default too."""
    vocab_size, tokens, seen = 16_384, 1_100, []
    net = LanguageModel(replace(size, layers=1, vocab_size=vocab_size))
    softmax = F.log_softmax

    def noted(logits: torch.Tensor, **how: Any) -> torch.Tensor:
        seen.append(logits.numel())
        return softmax(logits, **how)

    monkeypatch.setattr(F, "log_softmax", noted)
    ids = torch.zeros(1, tokens, dtype=torch.int64)
    net(ids, labels_BT=ids).cross_entropy.backward()
    assert max(seen) == 512 * vocab_size and len(seen) == 3
