"""Rows whose tokens do not divide by the tensor ranks that split them."""

import pytest
import torch
from internlm2_parallel import Layout, Treatment
from internlm2_parallel.even_rows import EvenRows
from internlm2_parallel.mesh import Ranks
from internlm2_parallel.parallelize import parallelize
from internlm2_parallel.tensor import TensorContext
from internlm2_parallel.testing import TinyLlama, run_ranks

IDS = torch.randint(0, 96, (2, 7), generator=torch.Generator().manual_seed(0))
POSITIONS = torch.tensor([[0, 1, 2, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 0]])


def hidden_and_gradient(net, with_segments):
    segments = net.model.segments_of(POSITIONS) if with_segments else None
    hidden_BTD = net.model(IDS, POSITIONS, segments=segments)
    (hidden_BTD.double() * torch.arange(1.0, 8)[:, None]).mean().backward()
    gradient = net.model.layers[0].attention.wqkv.weight.grad
    return hidden_BTD.detach(), getattr(gradient, "full_tensor", lambda: gradient)()


def test_they_are_computed_as_one_process_does():
    expected = hidden_and_gradient(TinyLlama(), False)

    def rank():
        found = []
        for with_segments in (False, True):
            net = TinyLlama()
            layout = Layout(tensor=2, sequence_parallel=True)
            parallelize(net, Ranks.of(layout, "cpu"), Treatment())
            with TensorContext():
                found.append(hidden_and_gradient(net, with_segments))
        with pytest.raises(ValueError, match="one token at a time, which sequence_parallel=True cannot split"):
            net.model(IDS, POSITIONS, cache=object())
        return found

    for found in run_ranks(rank, 2):
        for ours in found:
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [6, 7])
def test_places_of_whole_rows_are_not_asked_of_parts(tokens):
    hooks = EvenRows(TinyLlama(), 2)
    _, kwargs = hooks.fill(None, (IDS[:, :tokens],), {"places_N": torch.arange(3), "segments": None})
    assert kwargs == {"segments": None}
