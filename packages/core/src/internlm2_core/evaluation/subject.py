"""The model under evaluation, behind the two requests that tasks make: losses of given tokens, and greedy answers.

Legend: B rows, T tokens, D width, N = B * T.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from internlm2_core.batch import IGNORE, Batch
from internlm2_core.generation import Engine, Sampling
from internlm2_core.generation.engine import of_like_length
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.text import Tokenizer


class LossSum(NamedTuple):
    """Loss of some tokens.

    Attributes:
        nats: Sum of -log p(token), natural logarithm.
        tokens: How many tokens were predicted.
    """

    nats: float
    tokens: int


class Scored(NamedTuple):
    """Token ids, and which of them are to be predicted. The first never is, since nothing comes before it.

    Attributes:
        ids: Ids of one document.
        counts: Whether each of them is to be predicted.
    """

    ids: Sequence[int]
    counts: Sequence[bool]


@dataclass(frozen=True)
class Subject:
    """What a task may ask of a model.

    Attributes:
        net: The network, in eval mode.
        tokenizer: Its own.
        engine: Answers prompts.
        batch_tokens: Tokens of documents scored at once, padding included.
    """

    net: LanguageModel
    tokenizer: Tokenizer
    engine: Engine
    batch_tokens: int = 16_384

    @torch.inference_mode()
    def batch_loss(self, batch: Batch) -> LossSum:
        """Loss of a packed batch."""
        device = self.net.output.weight.device
        ids, positions, labels = (batch[name].to(device) for name in ("input_ids", "position_ids", "labels"))
        losses = self.net(ids, positions, labels_BT=labels)
        return LossSum(float(losses.cross_entropy), int((labels != IGNORE).sum()))

    @torch.inference_mode()
    def document_losses(self, documents: Sequence[Scored]) -> list[LossSum]:
        """Loss of each document by itself, in order.

        Raises:
            ValueError: If a document has no token that could be predicted.
        """
        for index, document in enumerate(documents):
            if not any(document.counts[1:]):
                raise ValueError(f"Document {index} of {len(documents)} has no token to predict.")
        sums = [LossSum(0.0, 0)] * len(documents)
        for batch in of_like_length([len(document.ids) for document in documents], self.batch_tokens):
            labels_BT, nats_B = self._row_losses([documents[index] for index in batch])
            tokens_B = (labels_BT != IGNORE).sum(1)
            for index, nats, tokens in zip(batch, nats_B.tolist(), tokens_B.tolist(), strict=True):
                sums[index] = LossSum(nats, tokens)
        return sums

    def _row_losses(self, documents: Sequence[Scored]) -> tuple[Tensor, Tensor]:
        ids_BT, positions_BT, labels_BT = (x_BT.to(self.net.output.weight.device) for x_BT in padded(documents))
        # Padding is at the end, where causality hides it. Only dynamic positions must know where documents end.
        positions = positions_BT if self.net.size.rope_scaling == "dynamic" else None
        has_label_BT = labels_BT != IGNORE
        places_N = has_label_BT.flatten().nonzero().flatten()
        logprobs_N = self.net(ids_BT, positions, places_N=places_N, targets_N=labels_BT[has_label_BT])
        assert isinstance(logprobs_N, Tensor)
        nats_BT = logprobs_N.new_zeros(labels_BT.shape).masked_scatter(has_label_BT, -logprobs_N)
        return labels_BT, nats_BT.sum(1)

    def greedy(self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """The most probable continuation of each prompt, as text without the token that ended it.

        Args:
            prompts: Token ids of each.
            max_new_tokens: The most tokens of an answer.
            stop: Names of special tokens that end it, besides ``</s>``.
        """
        stop_ids = tuple(self.tokenizer.special(name) for name in ("</s>", *stop))
        sampling = Sampling(max_new_tokens=max_new_tokens, temperature=0, stop_ids=stop_ids, logprobs=False)
        completions = self.engine.generate(prompts, sampling)
        return [self.tokenizer.decode([i for i in c.ids if i not in stop_ids]) for c in completions]


def padded(documents: Sequence[Scored]) -> tuple[Tensor, Tensor, Tensor]:
    """Documents as rows.

    Returns:
        Ids [B, T] padded with 0, positions [B, T] that restart where padding begins, and labels [B, T] shifted by one,
        -100 where nothing is to be predicted.
    """
    longest = max(len(document.ids) for document in documents)
    ids_BT = torch.zeros(len(documents), longest, dtype=torch.int64)
    labels_BT = torch.full_like(ids_BT, IGNORE)
    positions_BT = torch.arange(longest).repeat(len(documents), 1)
    for row, (ids, counts) in enumerate(documents):
        ids_T = torch.as_tensor(ids, dtype=torch.int64)
        counts_T = torch.as_tensor(counts, dtype=torch.bool)
        ids_BT[row, : len(ids)] = ids_T
        positions_BT[row, len(ids) :] -= len(ids)
        labels_BT[row, : len(ids) - 1] = torch.where(counts_T[1:], ids_T[1:], IGNORE)
    return ids_BT, positions_BT, labels_BT
