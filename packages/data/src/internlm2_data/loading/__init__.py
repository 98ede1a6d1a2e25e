"""From token files and conversations to packed batches (the one part of this package that needs torch).

    TokenSource ──TokenRows──┐                                  ┌─ rank 0: rows 0, 2, 4 ...
    TokenSource ──TokenRows──┼─ plan: which row comes next ──►  ┤           of the same
    conversations ─ChatRows──┘  (the only thing with a state)   └─ rank 1: rows 1, 3, 5 ... global batch

Three recipes, each with `.loader(dp_rank, dp_size, num_workers)`:

* `PackedBatches(sources, context, batch_rows, seed, weights=None, short_context=None, long=None)`: endless
  pre-training rows from `sources: Mapping[str, TokenSource | path]`, mixed by tokens.
  `long=LongRows(sources), long_fraction=0.5` is phase 2; `ramp=BatchRamp(...)` starts with smaller batches.
* `ChatBatches(conversations, encode, context, batch_rows, seed, overlong="drop", pretrain=None,
  pretrain_fraction=0)`: one pass over conversations per iteration, packed whole.
* `HeldOutBatches(source, context, batch_rows)`: one pass in order, for evaluation.

The first two make batches of other files with the same settings: `.held_out(FILE)`.
`BatchData`, `PretrainData` and `ChatData` hand them to a Lightning Trainer.

A loader yields `{"input_ids", "labels", "position_ids"}`, int64 tensors [batch_rows / dp_size, context].
labels[t] is the token after input_ids[t], -100 without a loss. `position_ids` restart at 0 where a
document (or a cut of it) begins. Padding is a document of its own (positions restart) without labels.

What is unusual: workers are stateless. The plan runs in the main process and names rows. A worker reads the
rows that it is handed. So `loader.state_dict()` is a few numbers, says exactly which batch comes next, and
holds neither the number of ranks nor of workers: a run resumes in mid-epoch on another number of GPUs with
the very same global batches. Lightning saves and restores it by itself
(`Trainer(use_distributed_sampler=False)`). Reading `trainer.estimated_stepping_batches` in
`configure_optimizers` makes Lightning forget the state. `batch_rows` counts the rows of all ranks. The
sequence of rows does not depend on it, so that accumulation over 2 x 8 rows sees what 1 x 16 rows sees.
"""

from internlm2_data.loading.chats import ChatBatches, Conversations
from internlm2_data.loading.data_modules import BatchData, ChatData, PretrainData
from internlm2_data.loading.held_out import HeldOutBatches
from internlm2_data.loading.loader import BatchRamp, Loader
from internlm2_data.loading.packed import LongRows, PackedBatches
from internlm2_data.tokens import TokenSource, token_sources

__all__ = [
    "BatchData",
    "BatchRamp",
    "ChatBatches",
    "ChatData",
    "Conversations",
    "HeldOutBatches",
    "Loader",
    "LongRows",
    "PackedBatches",
    "PretrainData",
    "TokenSource",
    "token_sources",
]
