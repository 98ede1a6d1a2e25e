"""LM: pre-training and supervised fine-tuning of the language model in Lightning.

One ``training_step`` is one optimizer step. The batch that arrives is this rank's share of the global batch; it is cut
into micro-batches here, so that the loss is divided once, by the loss tokens of the *global* batch: the same loss and
gradient however the batch is split over micro-batches, ranks or packing. For the same reason the step ends where a
checkpoint may be taken: there are never gradients of half a step.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from internlm2_core.batch import IGNORE, Batch
from internlm2_core.losses import TokenLosses
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.recompute import Recompute, recompute_blocks
from internlm2_core.optim import ClipsFusedOptimizers, decay_groups
from internlm2_core.spikes import SpikeGuard


class LM(ClipsFusedOptimizers):
    """Next-token training.

    Args:
        net: makes the network, weights included. It is called once, when the strategy is ready for it.
        optimizer: makes the optimizer from parameter groups, e.g. ``partial(torch.optim.AdamW, lr=3e-4)``.
        schedule: factor of the learning rate at an optimizer step counted from 0.
        weight_decay: of the matrices; norms do not decay.
        max_grad_norm: gradients are clipped to this global norm; 0 clips nothing.
        micro_batch_rows: rows computed at once; 0 takes the whole local batch.
        z_loss: weight of the z-loss (arXiv 2204.02311), 0 for none; the recipe has none.
        recompute: activations of blocks to compute again in the backward pass, see
            :func:`~internlm2_core.nn.recompute.recompute_blocks`.
        recompute_every: of each ``every``-th block.
        compile_blocks: compile each block with ``torch.compile``.
        spikes: leaves out steps whose loss stands out; None takes every step.

    Attributes:
        tokenizer_ids: ids that the tokenizer has; a network with fewer rows is refused. 0 asks for none.
        validation_names: names of the validation loaders in their order.
    """

    net: LanguageModel

    def __init__(
        self,
        net: Callable[[], LanguageModel],
        optimizer: Callable[..., Optimizer],
        schedule: Callable[[int], float],
        weight_decay: float = 0.1,
        max_grad_norm: float = 1.0,
        micro_batch_rows: int = 0,
        z_loss: float = 0.0,
        recompute: Recompute = "none",
        recompute_every: int = 1,
        compile_blocks: bool = False,
        spikes: SpikeGuard | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.make_net, self.make_optimizer, self.schedule = net, optimizer, schedule
        self.weight_decay, self.max_grad_norm = weight_decay, max_grad_norm
        self.micro_batch_rows, self.z_loss = micro_batch_rows, z_loss
        self.recompute, self.recompute_every, self.compile_blocks = recompute, recompute_every, compile_blocks
        self.spikes = spikes
        self.validation_names: list[str] = []
        self.tokenizer_ids = 0

    def configure_model(self) -> None:
        """Make the network, once.

        Raises:
            ValueError: it has fewer rows than ``tokenizer_ids``.
        """
        if not hasattr(self, "net"):
            self._make_net()
        if self.tokenizer_ids > self.net.size.vocab_size:
            raise ValueError(
                f"the tokenizer has {self.tokenizer_ids} ids but the model {self.net.size.vocab_size} rows; "
                f"set model.size.vocab_size={self.tokenizer_ids}."
            )

    def _make_net(self) -> None:
        self.net = self.make_net()
        self.net.with_z_loss = self.z_loss > 0
        recompute_blocks(self.net.model.layers, self.recompute, self.recompute_every)
        if self.compile_blocks:
            for block in self.net.model.layers:
                block.compile()

    def configure_optimizers(self) -> Any:
        """One optimizer over two groups, one schedule stepped after every optimizer step."""
        optimizer = self.make_optimizer(decay_groups(self.net, self.weight_decay))
        return {"optimizer": optimizer, "lr_scheduler": LambdaLR(optimizer, self.schedule)}

    def forward(self, input_ids_BT: Tensor, position_ids_BT: Tensor | None = None) -> Tensor:
        """Logits, [B, T, V]."""
        logits = self.net(input_ids_BT, position_ids_BT)
        assert isinstance(logits, Tensor)
        return logits

    def losses(self, batch: Batch) -> TokenLosses:
        """Loss sums of a batch, see :class:`~internlm2_core.losses.TokenLosses`."""
        return self.net(batch["input_ids"], batch["position_ids"], labels_BT=batch["labels"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One optimizer step over this rank's share of the global batch.

        Returns:
            The mean cross-entropy per loss token of the global batch, in nats; 0, with a gradient of zeros, where no
            token carries loss.

        Raises:
            RuntimeError: the loss does not come down again, see :class:`~internlm2_core.spikes.SpikeGuard`.
        """
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        tokens = divisor(self.mean_over_ranks((batch["labels"] != IGNORE).sum()))
        optimizer.zero_grad()
        total = torch.zeros((), dtype=torch.float32, device=self.device)
        micro_batches = list(split_rows(batch, self.micro_batch_rows))
        for index, micro_batch in enumerate(micro_batches):
            is_last = index == len(micro_batches) - 1
            with optimizer.toggle_model(sync_grad=is_last):
                cross_entropy, z_squared = self.losses(micro_batch)
                self.manual_backward((cross_entropy + self.z_loss * z_squared) / tokens)
            total += cross_entropy.detach()
        loss = self.mean_over_ranks(total) / tokens
        if self.spikes is None or self.spikes.accepts(float(loss), optimizer.optimizer):
            self.clip_gradients(optimizer.optimizer, self.max_grad_norm, "norm")
            optimizer.step()
            scheduler = self.lr_schedulers()
            assert isinstance(scheduler, LambdaLR)
            scheduler.step()
        self.log_dict({"train/loss": loss, "train/lr": optimizer.param_groups[0]["lr"]}, prog_bar=True)
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the spike guard remembers goes along."""
        if self.spikes is not None:
            checkpoint["spikes"] = self.spikes.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the guard's memory, where the run that was stopped had one."""
        if self.spikes is not None and "spikes" in checkpoint:
            self.spikes.load_state_dict(checkpoint["spikes"])

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Log the mean cross-entropy per loss token, in nats, of each set by its name in ``validation_names``.

        A batch counts as much as it has tokens with loss; one without any takes part, for the ranks that need it.
        """
        tokens = (batch["labels"] != IGNORE).sum()
        parts = [self.losses(rows).cross_entropy for rows in split_rows(batch, self.micro_batch_rows)]
        loss = torch.stack(parts).sum() / divisor(tokens)
        name = f"valid/{self.validation_names[dataloader_idx]}" if self.validation_names else "valid/loss"
        self.log(name, loss, batch_size=int(tokens), sync_dist=True, add_dataloader_idx=not self.validation_names)

    def mean_over_ranks(self, count: Tensor) -> Tensor:
        """Average a local sum over all ranks.

        Data-parallel strategies average gradients. Dividing the local loss sum by the *average* number of loss tokens
        per rank therefore gives the gradient of the global mean, under every layout, without asking for one.
        """
        return self.trainer.strategy.reduce(count.detach().float(), reduce_op="mean")


def divisor(tokens: Tensor) -> Tensor:
    """A count of loss tokens to divide a sum of losses by; no tokens divide a sum of 0 by 1."""
    return tokens.where(tokens > 0, 1)


def split_rows(batch: Batch, rows: int) -> Iterator[Batch]:
    """Cut a batch into micro-batches of ``rows`` rows; the last may be smaller; 0 gives the batch itself."""
    if rows <= 0 or rows >= len(batch["input_ids"]):
        yield batch
        return
    pieces = {name: value.split(rows) for name, value in batch.items() if isinstance(value, Tensor)}
    for values in zip(*pieces.values(), strict=True):
        yield dict(zip(pieces, values, strict=True))  # type: ignore[misc]
