"""Lightning warns of some things that are so on purpose here; a user who cannot mend them should not read of them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

ON_PURPOSE = (
    # Reward training validates once, after training, by its own code.
    "You defined a `validation_step` but have no `val_dataloader`",
    # Weights are saved after the optimizer's step, which is where a run goes on from.
    "Using ModelCheckpoint with manual optimization",
    # Reference and reward model stay frozen.
    "Found .* module\\(s\\) in eval mode",
    # Prompts are no tensors: the module knows what of a query is to be moved.
    "You have overridden `transfer_batch_to_device` in `LightningModule`",
    # A continued run writes where it wrote before.
    "Checkpoint directory .* exists and is not empty",
)


@contextmanager
def without_needless_warnings() -> Iterator[None]:
    """Lightning without the warnings of `ON_PURPOSE` and of its own deprecated calls."""
    with warnings.catch_warnings():
        for message in ON_PURPOSE:
            warnings.filterwarnings("ignore", message=f".*{message}")
        warnings.filterwarnings("ignore", module=r"lightning\.pytorch\.utilities\.(_pytree|data)")
        yield
