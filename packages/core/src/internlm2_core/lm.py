"""LM: pre-training and supervised fine-tuning of the language model in Lightning.

    from internlm2_core import LM
    lm = LM.load("runs/reproduce/chat")
    lm.generate("What is 5+7?")                          # text

One ``training_step`` is one optimizer step over this rank's share of the global batch, see
`internlm2_core.training.steps`. The loss is divided once, by the loss tokens of the *global* batch.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import torch
from internlm2_records import Message
from torch import Tensor
from torch.optim import Optimizer

from internlm2_core.batch import IGNORE, Batch, divisor, split_rows
from internlm2_core.checkpoint.any_layout import layout_of, load_model
from internlm2_core.checkpoint.released import save_released
from internlm2_core.generation.answers import complete
from internlm2_core.generation.local import LocalEngine
from internlm2_core.generation.sampling import Sampling
from internlm2_core.losses import TokenLosses
from internlm2_core.nn.compiled import Compile, compile_network
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.recompute import Recompute, recompute_blocks
from internlm2_core.optim import ADAMW, Constant, MakeOptimizer, Schedule, optimizer_and_schedule
from internlm2_core.spikes import SpikeGuard
from internlm2_core.text.tokenizer import Tokenizer, load_tokenizer
from internlm2_core.training.finite import NotFiniteError, first_not_finite
from internlm2_core.training.steps import StepLoss, StepModule

CONSTANT = Constant()
SAMPLING = Sampling()


class Loss(Protocol):
    """A loss of one's own: sums over the tokens of a batch that carry loss."""

    def __call__(self, net: LanguageModel, batch: Batch) -> TokenLosses:
        """Sums, not means.

        Args:
            net: The network in training.
            batch: Packed rows.
        """
        ...


def next_token_loss(net: LanguageModel, batch: Batch) -> TokenLosses:
    """Cross-entropy of the next token, without ever holding all logits.

    Args:
        net: The network.
        batch: Packed rows.
    """
    return net(batch["input_ids"], batch["position_ids"], labels_BT=batch["labels"])


@runtime_checkable
class NamesItsSets(Protocol):
    """Data with several validation sets.

    Attributes:
        validation_names: Names of the loaders in their order.
    """

    validation_names: Sequence[str]


class LM(StepModule):
    """Next-token training.

    Args:
        net: Makes the network, weights included. It is called once, when the strategy is ready for it.
        optimizer: Makes the optimizer from parameter groups, e.g. ``partial(torch.optim.AdamW, lr=3e-4)``.
        schedule: Factor of the learning rate at an optimizer step counted from 0, or a maker of a torch scheduler.
        tokenizer: Whose ids the network reads. It is written beside the weights. None trains on bare ids.
        loss: Sums over the tokens of a batch.
        weight_decay: Of the matrices. Norms do not decay.
        max_grad_norm: Gradients are clipped to this global norm. 0 clips nothing.
        micro_batch_rows: Rows computed at once. 0 takes the whole local batch.
        z_loss: Weight of the z-loss (arXiv 2204.02311), 0 for none. The recipe has none.
        recompute: Activations of blocks to compute again in the backward pass, see `recompute_blocks`.
        recompute_every: Of each ``every``-th block.
        compile: What ``torch.compile`` compiles: ``none``, ``blocks`` (each alone) or ``net`` (from ids to the loss).
        spikes: Leaves out steps whose loss stands out. None takes every step.
        most_left_out: Steps in a row that are left out because they are not finite, see `StepModule`.

    Attributes:
        validation_names: Names of the validation loaders in their order. Data that name theirs set it.
    """

    net: LanguageModel

    def __init__(
        self,
        net: Callable[[], LanguageModel],
        optimizer: MakeOptimizer = ADAMW,
        schedule: Schedule = CONSTANT,
        tokenizer: Tokenizer | None = None,
        loss: Loss = next_token_loss,
        weight_decay: float = 0.1,
        max_grad_norm: float = 1.0,
        micro_batch_rows: int = 0,
        z_loss: float = 0.0,
        recompute: Recompute = "none",
        recompute_every: int = 1,
        compile: Compile = "none",
        spikes: SpikeGuard | None = None,
        most_left_out: int = 10,
    ) -> None:
        super().__init__(max_grad_norm, most_left_out)
        self.make_net, self.make_optimizer, self.schedule = net, optimizer, schedule
        self.tokenizer, self.loss, self.weight_decay = tokenizer, loss, weight_decay
        self.micro_batch_rows, self.z_loss = micro_batch_rows, z_loss
        self.recompute, self.recompute_every, self.compiled = recompute, recompute_every, compile
        self.spikes = spikes
        self.validation_names: list[str] = []

    def setup(self, stage: str) -> None:
        """Take the names of validation sets from data that name them."""
        if isinstance(data := self.trainer.datamodule, NamesItsSets):  # type: ignore[attr-defined]
            self.validation_names = list(data.validation_names)

    def configure_model(self) -> None:
        """Make the network, once.

        Raises:
            ValueError: If it has fewer rows than the tokenizer has ids.
        """
        if not hasattr(self, "net"):
            self._make_net()
        if self.tokenizer is not None and self.tokenizer.vocab_size > self.net.size.vocab_size:
            raise ValueError(
                f"vocab_size={self.net.size.vocab_size} of the model must be at least the {self.tokenizer.vocab_size} "
                "ids of the tokenizer."
            )

    def _make_net(self) -> None:
        self.net = self.make_net()
        self.net.with_z_loss = self.z_loss > 0
        recompute_blocks(self.net.model.layers, self.recompute, self.recompute_every)
        compile_network(self.net, self.compiled)

    def configure_optimizers(self) -> Any:
        """One optimizer over two groups, one schedule stepped after every optimizer step."""
        return optimizer_and_schedule(self.net, self.make_optimizer, self.schedule, self.weight_decay)

    def forward(self, input_ids_BT: Tensor, position_ids_BT: Tensor | None = None) -> Tensor:
        """Logits, [B, T, V]."""
        logits = self.net(input_ids_BT, position_ids_BT)
        assert isinstance(logits, Tensor)
        return logits

    def losses(self, batch: Batch) -> TokenLosses:
        """Loss sums of a batch, see `TokenLosses`."""
        return self.loss(self.net, batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One optimizer step over this rank's share of the global batch.

        Returns:
            The mean cross-entropy per loss token of the global batch, in nats. It is 0, with a gradient of zeros, where
            no token carries loss.

        Raises:
            NotFiniteError: If too many steps in a row were not finite.
            RuntimeError: If the loss does not come down again, see `SpikeGuard`.
        """
        tokens = divisor(self.mean_over_ranks((batch["labels"] != IGNORE).sum()))
        parts = (partial(self._part, rows, tokens) for rows in split_rows(batch, self.micro_batch_rows))
        loss = self.mean_over_ranks(self.take_step(parts, accepts=self._accepts)["loss"])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def _part(self, batch: Batch, tokens: Tensor) -> StepLoss:
        cross_entropy, z_squared = self.losses(batch)
        return StepLoss((cross_entropy + self.z_loss * z_squared) / tokens, {"loss": cross_entropy.detach() / tokens})

    def _accepts(self, figures: dict[str, Tensor], optimizer: Optimizer) -> bool:
        return self.spikes is None or self.spikes.accepts(float(self.mean_over_ranks(figures["loss"])), optimizer)

    def arguments(self) -> dict[str, Any]:
        """Those that a checkpoint file can hold. The network comes back with its present positions."""
        names = ("schedule", "tokenizer", "loss", "weight_decay", "max_grad_norm", "micro_batch_rows", "z_loss")
        kept = {name: getattr(self, name) for name in (*names, "recompute", "recompute_every")}
        made = {"net": partial(LanguageModel, self.net.size), "optimizer": self.make_optimizer}
        return kept | made | {"compile": self.compiled, "most_left_out": self.left_out.most}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the spike guard remembers is saved too."""
        super().on_save_checkpoint(checkpoint)
        if self.spikes is not None:
            checkpoint["spikes"] = self.spikes.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the guard's memory, where the run that was stopped had one."""
        super().on_load_checkpoint(checkpoint)
        if self.spikes is not None and "spikes" in checkpoint:
            self.spikes.load_state_dict(checkpoint["spikes"])

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Log the mean cross-entropy per loss token, in nats, of each set as ``valid/NAME``.

        A batch counts as much as it has tokens with loss. One without any takes part, for the ranks that need it.
        """
        self._log_mean_loss("valid", batch, dataloader_idx)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """As in validation, logged as ``test/NAME``."""
        self._log_mean_loss("test", batch, dataloader_idx)

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Mean cross-entropy of each row over its loss tokens, [B] in nats."""
        rows = split_rows(batch, 1)
        return torch.stack([self.losses(row).cross_entropy / divisor((row["labels"] != IGNORE).sum()) for row in rows])

    def _log_mean_loss(self, stage: str, batch: Batch, index: int) -> None:
        tokens = (batch["labels"] != IGNORE).sum()
        parts = [self.losses(rows).cross_entropy for rows in split_rows(batch, self.micro_batch_rows)]
        loss = torch.stack(parts).sum() / divisor(tokens)
        names = self.validation_names
        name = f"{stage}/{names[index] if names else 'loss'}"
        self.log(name, loss, batch_size=int(tokens), sync_dist=True, add_dataloader_idx=not names)

    @classmethod
    def load(cls, folder: str | Path, **settings: Any) -> Self:
        """A model from its folder, with its tokenizer.

        Args:
            folder: Released or Llama layout.
            **settings: Of the constructor, to train on.

        Raises:
            FileNotFoundError: If the folder holds no model, or no tokenizer while none is given.
            ValueError: If it holds a reward model, or one of another family.
        """
        layout_of(folder)  # says that it is not a model folder
        own: dict[str, Any] = {} if "tokenizer" in settings else {"tokenizer": load_tokenizer(folder)}
        module = cls(partial(load_model, folder), **own, **settings)
        module.configure_model()
        return module

    def save(self, folder: str | Path, tensors: dict[str, Tensor] | None = None) -> None:
        """Write weights, configuration and tokenizer as a folder in released layout, atomically.

        Args:
            folder: Where. An older model is replaced.
            tensors: Whole weights by name, [...] each, where a strategy has gathered them. None takes those at hand.

        Raises:
            NotFiniteError: If a weight is not finite.
            ValueError: If the module has no tokenizer.
        """
        tensors = dict(self.net.state_dict()) if tensors is None else tensors
        if broken := first_not_finite(tensors.items()):
            raise NotFiniteError(f"folder={folder} is not written, since {broken} is not finite.")
        path = self._needed_tokenizer().path
        assert path is not None
        save_released(folder, self.net.size, tensors.items(), path)

    def generate(self, prompt: str | Sequence[Message], sampling: Sampling = SAMPLING, stop: Sequence[str] = ()) -> str:
        """What the model says.

        Args:
            prompt: A user's words, or a whole conversation.
            sampling: How tokens are chosen. The end of a turn always stops.
            stop: Strings that end the text. They are not part of it.

        Raises:
            ValueError: If the module has no tokenizer.
        """
        messages: Sequence[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return complete(LocalEngine(self.net), self._needed_tokenizer(), messages, sampling, stop)

    def _needed_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ValueError("tokenizer=None must be a tokenizer here: LM(..., tokenizer=load_tokenizer(FOLDER)).")
        return self.tokenizer
