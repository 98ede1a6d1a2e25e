"""Tensor parallelism by name patterns: which released weight is split how.

Patterns are those of `fnmatch` over the module names under a network. The first that matches wins. What no pattern
names keeps a full copy on every rank.

    tok_embeddings  rows   (vocabulary)     wqkv  rows  (whole kv groups: they are interleaved)     wo  columns
    output          rows   (vocabulary)     w1,w3 rows                                              w2  columns
"""

from collections.abc import Mapping
from types import MappingProxyType

from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    PrepareModuleOutput,
    RowwiseParallel,
    SequenceParallel,
)

TensorPlan = Mapping[str, ParallelStyle]

LLAMA: TensorPlan = MappingProxyType(
    {
        "*tok_embeddings": RowwiseParallel(input_layouts=Replicate(), output_layouts=Replicate()),
        "*layers.*.attention.wqkv": ColwiseParallel(),
        "*layers.*.attention.w[qkv]": ColwiseParallel(),  # where they are three
        "*layers.*.attention.wo": RowwiseParallel(),
        "*layers.*.feed_forward.w[13]": ColwiseParallel(),
        "*layers.*.feed_forward.w2": RowwiseParallel(),
        "output": ColwiseParallel(output_layouts=Shard(-1), use_local_output=False),
    }
)
"""Megatron's split (arXiv 1909.08053) of the released names. Logits stay split over the vocabulary."""

LLAMA_SEQUENCE: TensorPlan = MappingProxyType(
    {
        "*tok_embeddings": RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1)),
        "*layers.*.attention_norm": SequenceParallel(use_local_output=True),
        "*layers.*.attention.wqkv": ColwiseParallel(input_layouts=Shard(1)),
        "*layers.*.attention.w[qkv]": ColwiseParallel(input_layouts=Shard(1)),
        "*layers.*.attention.wo": RowwiseParallel(output_layouts=Shard(1)),
        "*layers.*.ffn_norm": SequenceParallel(use_local_output=True),
        "*layers.*.feed_forward": PrepareModuleInput(
            input_layouts=(Shard(1),), desired_input_layouts=(Replicate(),), use_local_output=True
        ),
        "*layers.*.feed_forward.w[13]": ColwiseParallel(),
        "*layers.*.feed_forward.w2": RowwiseParallel(output_layouts=Shard(1)),
        "model.norm": SequenceParallel(use_local_output=True),
        # The head sees every token, so that losses and value heads need not know of the split.
        "model": PrepareModuleOutput(output_layouts=(Shard(1),), desired_output_layouts=(Replicate(),)),
        "output": ColwiseParallel(output_layouts=Shard(-1), use_local_output=False),
    }
)
"""The same with activations split along the tokens between the matrices (Megatron sequence parallel)."""


def llama_plan(sequence_parallel: bool) -> TensorPlan:
    """The plan for networks with the released names."""
    return LLAMA_SEQUENCE if sequence_parallel else LLAMA
