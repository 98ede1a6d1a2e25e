"""Attention over split tokens equals plain attention, forward and backward, on packed documents."""

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from internlm2_parallel.context import SplitDocuments, split_tokens
from internlm2_parallel.context.attends import block_attention, context_attend, merge
from internlm2_parallel.context.documents import joined_order, zigzag
from internlm2_parallel.testing import run_ranks
from internlm2_parallel.testing.tiny import TinySegments
from torch import nn

B, T, H = 2, 32, 8


class Masked(nn.Module):
    def forward(self, q, k, v, segments):
        ids = segments.document_ids
        mask = (ids[:, :, None] == ids[:, None, :]) & torch.ones(T, T, dtype=torch.bool).tril()
        heads = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(*heads, attn_mask=mask[:, None], enable_gqa=True).transpose(1, 2)


def inputs(num_q: int, num_kv: int):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(B, T, n, H, generator=generator) for n in (num_q, num_kv, num_kv))
    weight = torch.randn(B, T, num_q, H, generator=generator)
    positions = torch.arange(T).repeat(B, 1)
    positions[0, 5:] -= 5  # documents of 5 and 27 tokens, crossing every chunk; row 1 is one document
    positions[0, 20:] -= 15
    return q, k, v, weight, TinySegments(positions)


def results(attend, q, k, v, weight, segments):
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    out = attend(*leaves, segments)
    (out * weight).sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("heads", [(4, 4), (8, 4), (4, 1), (6, 3)])
@pytest.mark.parametrize("kind", ["gather", "ulysses", "ring"])
def test_equals_plain_attention(kind, heads, ranks):
    if kind == "ulysses" and heads[0] % ranks:
        pytest.skip(f"{heads[0]} query heads do not divide over {ranks} ranks; the refusal has a test of its own")
    q, k, v, weight, documents = inputs(*heads)
    plain = results(Masked(), q, k, v, weight, documents)

    def rank():
        here = zigzag(T, ranks, dist.get_rank())
        split = SplitDocuments(documents, here, joined_order(T, ranks))
        attend = context_attend(kind, dist.group.WORLD, Masked())
        return results(attend, *(x[:, here] for x in (q, k, v, weight)), split)

    for index, found in enumerate(run_ranks(rank, ranks)):
        here = zigzag(T, ranks, index)
        assert max(float((a - b[:, here]).abs().max()) for a, b in zip(found, plain, strict=True)) < 1e-5


def test_ulysses_refuses_heads_that_do_not_divide():
    q, k, v, _, documents = inputs(6, 3)

    def rank():
        here = zigzag(T, 4, dist.get_rank())
        attend = context_attend("ulysses", dist.group.WORLD, Masked())
        with pytest.raises(ValueError, match="6 query heads must divide over context=4"):
            attend(*(x[:, here] for x in (q, k, v)), SplitDocuments(documents, here, joined_order(T, 4)))

    run_ranks(rank, 4)


def test_zigzag_by_hand():
    assert zigzag(8, 2, 0).tolist() == [0, 1, 6, 7]
    assert zigzag(8, 2, 1).tolist() == [2, 3, 4, 5]
    assert joined_order(8, 2).tolist() == [0, 1, 4, 5, 6, 7, 2, 3]
    with pytest.raises(ValueError, match=r"10 tokens must split into 2 x context=2 chunks"):
        zigzag(10, 2, 0)


def test_every_rank_has_the_same_causal_work():
    work = [int((zigzag(64, 4, rank) + 1).sum()) for rank in range(4)]
    assert len(set(work)) == 1


def test_merging_blocks_of_keys_by_hand():
    q = torch.randn(1, 3, 2, 4, generator=torch.Generator().manual_seed(1))
    k, v = (torch.randn(1, 6, 1, 4, generator=torch.Generator().manual_seed(s)) for s in (2, 3))
    mask = torch.tensor([[1, 0, 0, 0, 0, 0], [1, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 1]], dtype=torch.bool)[None]
    whole, _ = block_attention(q, k, v, mask)
    halves = [block_attention(q, k[:, part], v[:, part], mask[..., part]) for part in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(merge(*halves)[0], whole)


def test_a_trunk_that_does_not_know_its_documents_is_refused():
    class Silent(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = Masked()

    with pytest.raises(
        ValueError, match=r"Silent has no method segments_of\(position_ids\)\. It trains with context=1"
    ):
        split_tokens(Silent(), None, "gather")
    with pytest.raises(ValueError, match=r"Linear has no module called attend to replace"):
        split_tokens(nn.Linear(1, 1), None, "gather")


def test_documents_of_the_tiny_network_by_hand():
    documents = TinySegments(torch.tensor([[0, 1, 0, 1], [3, 4, 5, 0]]))
    assert documents.document_ids.tolist() == [[0, 0, 1, 1], [2, 2, 2, 3]]
    order = joined_order(4, 2)
    assert SplitDocuments(documents, torch.tensor([0, 3]), order).lengths_of_tokens.tolist() == [[2, 2], [3, 1]]
