"""DPO: direct preference optimisation from the pairs that a reward model would learn from (Rafailov et al. 2023).

One training_step is one optimizer step over a batch of pairs that holds ``budget_tokens``. Prompts and replies lie end
to end in rows, as in PPO. The reference's log-probabilities are computed beside the actor's.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from internlm2_core.callbacks.export import SaveLast, gathered
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.optim import MakeOptimizer, Schedule, optimizer_and_schedule
from internlm2_core.training import StepLoss, StepModule
from torch import Tensor

from internlm2_align.actors import save_actor
from internlm2_align.baselines.losses import dpo_loss
from internlm2_align.budget import plan_batches
from internlm2_align.ppo.responses import Responses, token_logprobs
from internlm2_align.ppo.updates import evened
from internlm2_align.reward.encoded import EncodedPair, EncodedPairs
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.model import ADAMW, CONSTANT
from internlm2_align.reward.pairs import PairBatches, PairLoader

Pairs = Sequence[EncodedPair]


class WholeBatch:
    """Pairs of one optimizer step on one rank. Not a dataclass, as `Query` is none.

    Args:
        pairs: The pairs.
    """

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs


class WholePairs(PairBatches):
    """Batches of pairs as they are encoded, for networks that need the replies and not a score at their end."""

    def loader(self, pairs: EncodedPairs, *, dp_rank: int = 0, dp_size: int = 1, shuffle: bool = True) -> PairLoader:
        """A loader for one data-parallel rank."""
        return _WholePairs(self, pairs, dp_rank, dp_size, shuffle)


class _WholePairs(PairLoader):
    def _batch(self, indices: Sequence[int]) -> Any:
        return WholeBatch([self.pairs[index] for index in indices])


class DPO(StepModule):
    """An actor that learns from pairs, held close to the model that it began as.

    Args:
        net: Makes the actor, weights included. Called twice: the second one is the frozen reference.
        encoder: Encodes conversations, without conditions.
        optimizer: Makes the optimizer from parameter groups.
        schedule: Factor of the learning rate at an optimizer step counted from 0, or a maker of a torch scheduler.
        beta: Strength of the hold on the reference.
        weight_decay: Of the matrices. Norms do not decay.
        max_grad_norm: Gradients are clipped to this norm. 0 clips nothing.
        micro_batch_tokens: Tokens computed at once.
        most_left_out: Steps in a row that are left out because they are not finite, see `StepModule`.

    Raises:
        ValueError: If ``beta`` is not above 0.
    """

    actor: LanguageModel
    reference: LanguageModel

    def __init__(
        self,
        net: Callable[[], LanguageModel],
        encoder: ConversationEncoder,
        optimizer: MakeOptimizer = ADAMW,
        schedule: Schedule = CONSTANT,
        beta: float = 0.1,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
        micro_batch_tokens: int = 16_384,
        most_left_out: int = 10,
    ) -> None:
        super().__init__(max_grad_norm, most_left_out)
        if not beta > 0:
            raise ValueError(f"beta={beta} must be above 0.")
        self.make_net, self.encoder, self.make_optimizer, self.schedule = net, encoder, optimizer, schedule
        self.beta, self.weight_decay, self.micro_batch_tokens = beta, weight_decay, micro_batch_tokens
        self.tokens = 0

    def configure_model(self) -> None:
        """Make actor and reference, once."""
        if not hasattr(self, "actor"):
            self.actor = self.make_net()
            self.reference = self.make_net().requires_grad_(False).eval()

    def configure_optimizers(self) -> Any:
        """One optimizer over two groups, one schedule stepped after every optimizer step."""
        return optimizer_and_schedule(self.actor, self.make_optimizer, self.schedule, self.weight_decay)

    def training_step(self, batch: WholeBatch, batch_idx: int) -> None:
        """One optimizer step.

        Raises:
            NotFiniteError: If too many steps in a row were not finite.
        """
        pairs = self.mean_over_ranks(torch.tensor(float(len(batch.pairs))))
        parts = [partial(self._part, part, pairs) for part in self.micro_batches(batch.pairs)]
        count = torch.tensor(float(len(parts)), device=self.device)
        sums = self.take_step(evened(parts, int(self.trainer.strategy.reduce(count, reduce_op="max"))))
        means = {name: self.mean_over_ranks(value) for name, value in sums.items()}
        self.tokens += sum(pair.stored_tokens for pair in batch.pairs)
        self.log_dict({f"train/{name}": value for name, value in means.items()}, prog_bar=True)

    def micro_batches(self, pairs: Pairs) -> Iterator[Pairs]:
        """Pairs that are computed at once, the shortest together."""
        lengths = [2 * len(pair.group.prompt) + sum(map(len, pair.group.replies)) for pair in pairs]
        for rows in plan_batches(lengths, max([self.micro_batch_tokens, *lengths]), seed=None):
            yield [pairs[row] for row in rows]

    def _part(self, part: Pairs, pairs: Tensor) -> StepLoss:
        chosen_P, rejected_P = self(part)
        loss = dpo_loss(chosen_P, rejected_P, pairs=pairs, beta=self.beta)
        gains_P = self.beta * (chosen_P - rejected_P).detach()
        figures = {"loss": loss.detach(), "accuracy": (gains_P > 0).sum() / pairs, "margin": gains_P.sum() / pairs}
        return StepLoss(loss, figures)

    def forward(self, part: Pairs) -> tuple[Tensor, Tensor]:
        """How much more likely than the reference the actor finds chosen and rejected replies, [P] nats each."""
        ending = len(self.encoder.ending)  # the score token is not said
        sides = [(pair.group.prompt, reply[:-ending]) for pair in part for reply in pair.group.replies]
        responses = Responses([prompt for prompt, _ in sides], [reply for _, reply in sides])
        packed = responses.pack(self.device)
        with torch.no_grad():
            reference_N = token_logprobs(self.reference, packed)
        gains_P2 = responses.spread(token_logprobs(self.actor, packed) - reference_N).sum(1).view(-1, 2)
        return gains_P2[:, 0], gains_P2[:, 1]

    def arguments(self) -> dict[str, Any]:
        """Those that a checkpoint file can hold."""
        names = ("encoder", "schedule", "beta", "weight_decay", "max_grad_norm", "micro_batch_tokens")
        kept = {name: getattr(self, name) for name in names} | {"most_left_out": self.left_out.most}
        return kept | {"net": self.make_net, "optimizer": self.make_optimizer}

    def save(self, folder: str | Path, tensors: dict[str, Tensor] | None = None) -> None:
        """Write the actor as a folder in released layout, atomically.

        Args:
            folder: Where. An older model is replaced.
            tensors: Whole weights by name, [...] each, where a strategy has gathered them. None takes those at hand.

        Raises:
            ValueError: If a weight is not finite.
        """
        save_actor(folder, self.actor, self.encoder.tokenizer, tensors)


class SaveDPO(SaveLast):
    """Writes the actor after the last step."""

    of = DPO

    def write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the actor."""
        assert isinstance(pl_module, DPO)
        tensors = gathered(trainer, pl_module.actor)
        if trainer.is_global_zero:
            pl_module.save(self.folder, tensors)
