"""What a rank holds while a network is made on the meta device."""

import pytest
import torch
from internlm2_parallel import Layout, MeshStrategy
from internlm2_parallel.memory import fill_kept, weights_for
from internlm2_parallel.testing import TinyLlama, TinyLM, TinySize, quiet_trainer, run_ranks
from torch.utils._python_dispatch import TorchDispatchMode


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor off the meta device that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and not tensor.is_meta:
                self.elements = max(self.elements, tensor.numel())
        return result


def test_networks_are_made_on_the_meta_device_and_kept_in_parts():
    size = TinySize(vocab_size=512)

    def rank(deferred):
        class Measured(TinyLM):
            def configure_model(self):
                super().configure_model()
                self.was_meta = self.net.output.weight.is_meta

        module = Measured(net=lambda: TinyLlama(size), steps=1)
        quiet_trainer(MeshStrategy(Layout(shard=2), deferred=deferred), 2).fit(module)
        return module.was_meta, sum(weight.to_local().numel() for weight in module.net.parameters())

    for deferred in (True, False):
        found = run_ranks(rank, 2, deferred, join=False)
        assert [was_meta for was_meta, _ in found] == [deferred] * 2
        assert sum(kept for _, kept in found) == sum(w.numel() for w in TinyLlama(size).parameters())


def test_filling_holds_one_whole_weight_at_a_time():
    with torch.device("meta"):
        net = TinyLlama()
    weights = net.initial_weights
    with LargestTensor() as largest:
        fill_kept(net, weights, "cpu")
    assert largest.elements == max(weight.numel() for weight in net.parameters())
    for weight, same in zip(net.parameters(), TinyLlama().parameters(), strict=True):
        assert torch.equal(weight, same)


def test_a_missing_or_misshapen_weight_is_named():
    with torch.device("meta"):
        net, other = TinyLlama(), TinyLlama(TinySize(vocab_size=64))
    rest = [(name, tensor) for name, tensor in net.initial_weights() if name != "model.norm.weight"]
    with pytest.raises(ValueError, match=r"1 weights begin, model\.norm\.weight"):
        fill_kept(net, lambda: iter(rest), "cpu")
    with pytest.raises(ValueError, match=r"tok_embeddings\.weight is \(96, 32\) here and \(64, 32\)"):
        fill_kept(net, other.initial_weights, "cpu")


def test_a_surplus_weight_and_a_buffer_are_refused():
    with torch.device("meta"):
        net = TinyLlama(TinySize(layers=1))
        larger = TinyLlama(TinySize(layers=2))
        net.initial_weights = larger.initial_weights
        with pytest.raises(ValueError, match=r"surplus weight model\.layers\.1\."):
            list(weights_for(net)())
        net.register_buffer("frequencies", torch.zeros(4))
    with pytest.raises(ValueError, match=r"buffers on the meta device, frequencies among them"):
        weights_for(net)
