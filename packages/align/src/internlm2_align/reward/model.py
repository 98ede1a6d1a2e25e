"""RewardModel: training of the conditional reward model in Lightning, and the calls by which it is used.

    from internlm2_align import RewardModel
    model = RewardModel.load("runs/reward/model")
    model.score(conversation, domain="helpful")                  # one number
    model.rank(prompt, ["4", "four", "5"], domain="maths")       # indices, best first
    model.compare(prompt, "4", "5", domain="maths")              # P(first is better)

One ``training_step`` is one optimizer step over a batch that was built by token count (`pairs`). The loss is divided by
the pairs of the *global* batch: the same gradient however pairs are spread over ranks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from internlm2_core.optim import Constant, MakeOptimizer, Schedule, optimizer_and_schedule
from internlm2_core.shares import SaysHowWeightsLie
from internlm2_core.text.tokenizer import load_tokenizer
from internlm2_core.training import StepLoss, StepModule
from internlm2_records import Message
from torch import Tensor

from internlm2_align.finite import check_weights
from internlm2_align.preferences.preference import Reply
from internlm2_align.reward.conditions import ConditionTable, conditions_beside
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.losses import reward_loss
from internlm2_align.reward.metrics import PairMetrics
from internlm2_align.reward.network import RewardNetwork, check_reward, load_reward, save_reward
from internlm2_align.reward.pairs import PairBatch, PairRow
from internlm2_align.reward.scoring import Scorer

ADAMW = partial(torch.optim.AdamW, lr=1e-5)
CONSTANT = Constant()


class RewardModel(StepModule):
    """The conditional reward model (report section 4.2.1).

    Args:
        net: Makes the network, weights included, e.g. ``partial(start_reward, "runs/sft/model")``. Called once.
        encoder: Encodes conversations under their condition.
        optimizer: Makes the optimizer from parameter groups.
        schedule: Factor of the learning rate at an optimizer step counted from 0, or a maker of a torch scheduler.
        loss: ``loss(chosen_P, rejected_P, margin_P=, pairs=)``: `reward_loss` with its constants bound.
        weight_decay: Of the matrices. Norms do not decay.
        max_grad_norm: Gradients are clipped to this global norm. 0 clips nothing.
        most_left_out: Steps in a row that are left out because they are not finite, see `StepModule`.
    """

    net: RewardNetwork

    def __init__(
        self,
        net: Callable[[], RewardNetwork],
        encoder: ConversationEncoder,
        optimizer: MakeOptimizer = ADAMW,
        schedule: Schedule = CONSTANT,
        loss: Callable[..., Tensor] = reward_loss,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        most_left_out: int = 10,
    ) -> None:
        super().__init__(max_grad_norm, most_left_out)
        self.make_net, self.make_optimizer, self.schedule = net, optimizer, schedule
        self.encoder, self.loss = encoder, loss
        self.weight_decay = weight_decay
        self.metrics = PairMetrics(encoder.conditions.domains)

    def setup(self, stage: str) -> None:
        """Refuse layouts that would cut a row of pairs.

        Raises:
            ValueError: If tokens or stages are split over ranks.
        """
        how = self.trainer.strategy
        if isinstance(how, SaysHowWeightsLie) and (how.splits_rows or how.has_stages):
            raise ValueError(
                f"{type(how).__name__} splits rows or stages over ranks: splits_rows={how.splits_rows}, "
                f"has_stages={how.has_stages}. Replies that share a prompt need their whole row and give scores "
                "instead of losses. Take fsdp or tensor."
            )

    def configure_model(self) -> None:
        """Make the network, once."""
        if not hasattr(self, "net"):
            self.net = self.make_net()

    def configure_optimizers(self) -> Any:
        """One optimizer over two groups, one schedule stepped after every optimizer step."""
        return optimizer_and_schedule(self.net, self.make_optimizer, self.schedule, self.weight_decay)

    def forward(self, row: PairRow) -> tuple[Tensor, Tensor]:
        """Scores of both sides, float32 [P] each."""
        scores_P2 = self.net(row.packed).view(-1, 2)
        return scores_P2[:, 0], scores_P2[:, 1]

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """One optimizer step.

        Returns:
            The loss of the global batch, a scalar.

        Raises:
            NotFiniteError: If too many steps in a row were not finite.
        """
        # Data-parallel strategies average gradients, so a sum over the mean number of pairs is the global mean.
        pairs = self.mean_over_ranks(torch.tensor(float(sum(len(row.margin) for row in batch))))
        sides: list[Tensor] = []
        parts = [partial(self._part, row, weight, pairs, sides) for row, weight in self._rows_of_every_rank(batch)]
        own_loss = self.take_step(parts)["loss"]
        chosen_P, rejected_P = torch.cat(sides, dim=1)
        shares = torch.stack((own_loss, (chosen_P > rejected_P).sum() / pairs))
        loss, accuracy = self.trainer.strategy.reduce(shares, reduce_op="mean")
        extreme = self.trainer.strategy.reduce(torch.cat((chosen_P, rejected_P)).abs().max(), reduce_op="max")
        logged = {"train/loss": loss, "train/accuracy": accuracy, "train/largest_score": extreme}
        self.log_dict(logged, prog_bar=True)
        return loss

    def _part(self, row: PairRow, weight: float, pairs: Tensor, sides: list[Tensor]) -> StepLoss:
        chosen_P, rejected_P = self(row)
        loss = weight * self.loss(chosen_P, rejected_P, margin_P=row.margin, pairs=pairs)
        if weight:
            sides.append(torch.stack((chosen_P, rejected_P)).detach())
        return StepLoss(loss, {"loss": loss.detach()})

    def _rows_of_every_rank(self, batch: PairBatch) -> list[tuple[PairRow, float]]:
        """Rows and their weights, as many on each rank: ranks that gather weights wait for each other.

        Ranks cut their batches by their own pairs. One with fewer rows than another repeats its last with weight 0.
        """
        count = torch.tensor(float(len(batch)), device=self.device)
        missing = int(self.trainer.strategy.reduce(count, reduce_op="max")) - len(batch)
        return [*((row, 1.0) for row in batch), *[(batch[-1], 0.0)] * missing]

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Count pairs by domain."""
        for row in batch:
            chosen_P, rejected_P = self(row)
            self.metrics.update(chosen_P, rejected_P, row.domain_index)

    def on_validation_epoch_end(self) -> None:
        """Log accuracy, margin and calibration by domain."""
        self._log_metrics("valid")

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """As in validation."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log what validation does, as ``test/NAME``."""
        self._log_metrics("test")

    def predict_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """Scores of both sides, float32 [P, 2], of the batch's pairs in order."""
        return torch.cat([torch.stack(self(row), dim=1) for row in batch])

    def _log_metrics(self, stage: str) -> None:
        found = {f"{stage}/{name}": value for name, value in self.metrics.compute().items()}
        self.log_dict(found, sync_dist=True)  # Ranks agree already. Lightning warns of what it does not reduce.
        self.metrics.reset()

    def arguments(self) -> dict[str, Any]:
        """Those that a checkpoint file can hold."""
        names = ("encoder", "schedule", "loss", "weight_decay", "max_grad_norm")
        kept = {name: getattr(self, name) for name in names} | {"most_left_out": self.left_out.most}
        return kept | {"net": partial(RewardNetwork, self.net.size), "optimizer": self.make_optimizer}

    @classmethod
    def load(
        cls, folder: str | Path, conditions: ConditionTable | None = None, max_tokens: int = 8192, **settings: Any
    ) -> Self:
        """A trained model from its folder.

        Args:
            folder: Released reward layout, or a sequence classifier in Llama's layout.
            conditions: None reads ``conditions.yaml`` beside the weights.
            max_tokens: Longest conversation.
            **settings: Of the constructor, to train on.

        Raises:
            FileNotFoundError: If the folder does not exist, or holds no condition table while none is given.
            ValueError: If it holds no reward head.
        """
        folder = Path(folder)
        check_reward(folder)  # before its tokenizer and conditions are missed
        encoder = ConversationEncoder(load_tokenizer(folder), conditions or conditions_beside(folder), max_tokens)
        model = cls(partial(load_reward, folder), encoder, **settings)
        model.configure_model()
        return model

    def save(
        self, folder: str | Path, tokenizer_path: str | Path | None = None, tensors: dict[str, Tensor] | None = None
    ) -> None:
        """Write weights, tokenizer and condition table as one folder, atomically.

        Args:
            folder: Where. An older model is replaced.
            tokenizer_path: Whose tokenizer is written beside them. None takes the encoder's.
            tensors: Whole weights by name, [...] each, where a strategy has gathered them. None takes those at hand.

        Raises:
            ValueError: If a weight is not finite.
        """
        tensors = dict(self.net.state_dict()) if tensors is None else tensors
        path = tokenizer_path or self.encoder.tokenizer.path
        assert path is not None
        check_weights(tensors, folder)
        save_reward(folder, self.net.size, tensors, path, self.encoder.conditions)

    def scorer(self, budget_tokens: int = 16_384) -> Scorer:
        """For scoring many conversations at once."""
        return Scorer(self.net, self.encoder, budget_tokens)

    def score(self, conversation: Sequence[Message], domain: str, language: str = "en") -> float:
        """Score of a conversation that ends in an assistant's reply.

        Raises:
            ValueError: If the domain is unknown, another role is last, or there are too many tokens.
        """
        return self.scorer().conversations([conversation], [domain], [language])[0]

    def rank(self, prompt: Sequence[Message], replies: Sequence[Reply], domain: str, language: str = "en") -> list[int]:
        """Indices of the replies, best first. The prompt is computed once."""
        scores = self._replies(prompt, replies, domain, language)
        return sorted(range(len(replies)), key=lambda index: -scores[index])

    def compare(
        self, prompt: Sequence[Message], first: Reply, second: Reply, domain: str, language: str = "en"
    ) -> float:
        """Probability that the first reply is better, ``sigmoid(score difference)``."""
        scores = self._replies(prompt, (first, second), domain, language)
        return torch.tensor(scores[0] - scores[1]).sigmoid().item()

    def _replies(self, prompt: Sequence[Message], replies: Sequence[Reply], domain: str, language: str) -> list[float]:
        return self.scorer().scores([self.encoder.group(prompt, replies, domain, language)])[0]
