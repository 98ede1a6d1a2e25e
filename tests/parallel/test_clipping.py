"""One global norm over gradients that live in different places."""

import torch
from internlm2_parallel.clipping import clip_by_global_norm, global_norm
from internlm2_parallel.testing import run_ranks
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor


def test_plain_gradients_by_hand():
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert global_norm([a, b]) == 5
    assert clip_by_global_norm([a, b], 1.0) == 5
    torch.testing.assert_close(a.grad, torch.tensor([0.6, 0.0]), rtol=1e-5, atol=0)
    assert global_norm([nn.Parameter(torch.zeros(1))]) == 0


def test_gradients_on_two_meshes_beside_a_plain_one_and_two_stages():
    def rank():
        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("pipeline", "tensor"))
        other = init_device_mesh("cpu", (4,))
        values = [torch.arange(1.0, 5.0), torch.arange(8.0).view(4, 2), torch.tensor([2.0, 2.0])]
        homes = [(mesh["tensor"], [Shard(0)]), (other, [Replicate()])]
        weights = [nn.Parameter(distribute_tensor(v, *home)) for v, home in zip(values, homes, strict=False)]
        weights.append(nn.Parameter(values[2]))
        for weight in weights:
            weight.grad = weight.detach().clone()
        stage = sum(float((v**2).sum()) for v in values)
        expected = (2 * stage) ** 0.5  # both stages hold the same numbers here
        norm = clip_by_global_norm(weights, 1.0, mesh["pipeline"])
        torch.testing.assert_close(norm, torch.tensor(expected))
        torch.testing.assert_close(global_norm(weights, mesh["pipeline"]), torch.tensor(1.0), rtol=1e-4, atol=0)

    run_ranks(rank, 4)
