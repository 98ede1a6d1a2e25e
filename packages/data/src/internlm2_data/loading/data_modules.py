"""LightningDataModules: the loaders of this rank, once the strategy knows which rank that is.

They shard by data-parallel rank themselves, so the Trainer is made with ``use_distributed_sampler=False``.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import lightning as L
from lightning.pytorch.strategies import ParallelStrategy

from internlm2_data.loading.chats import ChatBatches, Encode, Paths
from internlm2_data.loading.loader import Batch
from internlm2_data.loading.packed import PackedBatches
from internlm2_data.tokens.token_file import token_sources


class BatchLoader(Protocol):
    """Batches of one rank, pass after pass, from where its state says."""

    def __len__(self) -> int:
        """Batches of a whole pass."""

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the pass."""

    def state_dict(self) -> dict[str, Any]:
        """What comes after the last batch handed out."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue there."""


class HasLoader(Protocol):
    """Makes the loader of one data-parallel rank."""

    @property
    def loader(self) -> Callable[[int, int, int], BatchLoader]:
        """The loader, given this rank, the number of ranks and the number of reading processes."""


class Batches(HasLoader, Protocol):
    """Makes loaders of its own data, and batches of other files with the same settings."""

    def held_out(self, source: Any) -> HasLoader:
        """Batches of held-out data, one pass."""


class BatchData(L.LightningDataModule):
    """Batches for training, and held-out files of which batches are made with the same settings.

    Args:
        batches: Makes the loaders: `PackedBatches`, `ChatBatches`, or your own.
        validation: Held-out files by name. None validates nothing.
        num_workers: Reading processes of each loader. 0 reads in this one.

    Attributes:
        held_out: What makes the validation loaders, by name.
    """

    def __init__(self, batches: Batches, validation: Mapping[str, Any] | None = None, num_workers: int = 0) -> None:
        super().__init__()
        self.batches, self.num_workers = batches, num_workers
        self.held_out: dict[str, HasLoader] = {n: batches.held_out(files) for n, files in (validation or {}).items()}

    @property
    def validation_names(self) -> list[str]:
        """Names of the validation loaders, in their order."""
        return list(self.held_out)

    def steps_per_pass(self, replicas: int) -> int:
        """Global batches, and so optimizer steps, of one pass over the training data.

        Args:
            replicas: Ranks that read different rows. A global batch is theirs together, so the number does not matter.
        """
        return len(self.batches.loader(0, 1, 0))

    def train_dataloader(self) -> BatchLoader:
        """The loader of this data-parallel rank. Lightning saves and restores its place."""
        return self._load(self.batches)

    def val_dataloader(self) -> list["OnePass"]:
        """One loader for each validation set."""
        return [OnePass(self._load(batches)) for batches in self.held_out.values()]

    def test_dataloader(self) -> list["OnePass"]:
        """The validation sets."""
        return self.val_dataloader()

    def predict_dataloader(self) -> list["OnePass"]:
        """The validation sets."""
        return self.val_dataloader()

    def _load(self, batches: HasLoader) -> BatchLoader:
        assert self.trainer is not None
        strategy = self.trainer.strategy
        share = strategy.distributed_sampler_kwargs if isinstance(strategy, ParallelStrategy) else {}
        return batches.loader(share.get("rank", 0), share.get("num_replicas", 1), self.num_workers)


class PretrainData(BatchData):
    """Token files of ``internlm2 process pipeline=tokens``, packed without padding.

    Args:
        folder: Folder of the token files.
        context: Tokens of a row.
        batch_rows: Rows of a batch over all ranks.
        seed: Of document order and mixture.
        validation: Held-out token files by name.
        num_workers: Reading processes of each loader.
        tokenizer: File or folder of the tokenizer that the text must have been encoded with. None takes any.
        **settings: Others of `PackedBatches`: ``weights``, ``short_context``, ``long``, ``long_fraction``, ``ramp``.

    Raises:
        FileNotFoundError: If the folder holds no token files.
        ValueError: If another tokenizer encoded one of them, or a setting is out of range.
    """

    def __init__(
        self,
        folder: str | Path,
        context: int,
        batch_rows: int,
        seed: int = 1,
        validation: Mapping[str, str | Path] | None = None,
        num_workers: int = 0,
        tokenizer: str | Path | None = None,
        **settings: Any,
    ) -> None:
        sources = token_sources(folder, tokenizer=tokenizer)
        super().__init__(PackedBatches(sources, context, batch_rows, seed, **settings), validation, num_workers)


class ChatData(BatchData):
    """Conversations of OpenAI, ShareGPT, Alpaca or ChatML, packed whole.

    Args:
        files: A file or folder, or several, see `internlm2_records`.
        encode: Makes token ids and a loss mask of messages, such as ``internlm2_core.text.ChatEncoder(tokenizer)``.
        context: Tokens of a row.
        batch_rows: Rows of a batch over all ranks.
        seed: Of the order.
        validation: Held-out files by name.
        num_workers: Reading processes of each loader.
        **settings: Others of `ChatBatches`: ``overlong``, ``pretrain``, ``pretrain_fraction``, ``pad_id``.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(
        self,
        files: Paths,
        encode: Encode,
        context: int,
        batch_rows: int,
        seed: int = 1,
        validation: Mapping[str, Paths] | None = None,
        num_workers: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(ChatBatches(files, encode, context, batch_rows, seed, **settings), validation, num_workers)


class OnePass:
    """A loader that begins with the same batch every time, also after it was left in the middle.

    Args:
        loader: A loader that resumes where it was left.
    """

    def __init__(self, loader: BatchLoader) -> None:
        self.loader, self._start = loader, loader.state_dict()

    def __len__(self) -> int:
        """Batches of a pass."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        """One pass."""
        self.loader.load_state_dict(self._start)
        return iter(self.loader)
