"""The model under evaluation, behind the requests that tasks make: losses and likelihoods of given tokens, and answers.

Legend: B rows, T tokens, D width, N = B * T.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from internlm2_core.batch import IGNORE, Batch
from internlm2_core.evaluation.answers import AnswerStore, Request, in_batches
from internlm2_core.evaluation.likelihood import Continuation, Likelihood, batches_of, likelihoods
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


def nothing(done: int) -> None:
    """Tell nobody how many requests are answered."""


@dataclass(frozen=True)
class Subject:
    """What a task may ask of a model.

    Attributes:
        net: The network, in eval mode.
        tokenizer: Its own.
        engine: Answers prompts.
        batch_tokens: Tokens of documents scored at once, padding included.
        answer_tokens: Tokens of prompts and answers given to the engine at once. Answers are kept after each such part.
        store: Keeps answers as they come, for an evaluation that is stopped. None keeps nothing.
    """

    net: LanguageModel
    tokenizer: Tokenizer
    engine: Engine
    batch_tokens: int = 16_384
    answer_tokens: int = 65_536
    store: AnswerStore | None = None

    def batch_loss(self, batch: Batch) -> LossSum:
        """Loss of a packed batch."""
        tensors = [batch[name] for name in ("input_ids", "position_ids", "labels")]
        content = b"".join(tensor.cpu().contiguous().numpy().tobytes() for tensor in tensors)
        request = ("packed", list(tensors[0].shape), hashlib.sha256(content).hexdigest())
        return LossSum(
            *in_batches(self.store, lambda _: request, [[0]], lambda _: [self._packed_loss(batch)], nothing)[0]
        )

    @torch.inference_mode()
    def _packed_loss(self, batch: Batch) -> LossSum:
        device = self.net.output.weight.device
        ids, positions, labels = (batch[name].to(device) for name in ("input_ids", "position_ids", "labels"))
        losses = self.net(ids, positions, labels_BT=labels)
        return LossSum(float(losses.cross_entropy), int((labels != IGNORE).sum()))

    def document_losses(self, documents: Sequence[Scored], done: Callable[[int], None] = nothing) -> list[LossSum]:
        """Loss of each document by itself, in order.

        Args:
            documents: The documents.
            done: Called with the number of losses so far.

        Raises:
            ValueError: If a document has no token that could be predicted.
        """
        for index, document in enumerate(documents):
            if not any(document.counts[1:]):
                raise ValueError(f"Document {index} of {len(documents)} has no token to predict.")
        batches = list(of_like_length([len(document.ids) for document in documents], self.batch_tokens))

        def request(index: int) -> Request:
            return "loss", whole(documents[index].ids), "".join("01"[bool(c)] for c in documents[index].counts)

        def compute(batch: Sequence[int]) -> list[LossSum]:
            return self._losses([documents[index] for index in batch])

        found = in_batches(self.store, request, batches, compute, done)
        return [LossSum(*answer) for answer in found]

    @torch.inference_mode()
    def _losses(self, documents: Sequence[Scored]) -> list[LossSum]:
        ids_BT, positions_BT, labels_BT = (x_BT.to(self.net.output.weight.device) for x_BT in padded(documents))
        # Padding is at the end, where causality hides it. Only dynamic positions must know where documents end.
        positions = positions_BT if self.net.size.rope_scaling == "dynamic" else None
        has_label_BT = labels_BT != IGNORE
        places_N = has_label_BT.flatten().nonzero().flatten()
        logprobs_N = self.net(ids_BT, positions, places_N=places_N, targets_N=labels_BT[has_label_BT])
        assert isinstance(logprobs_N, Tensor)
        nats_BT = logprobs_N.new_zeros(labels_BT.shape).masked_scatter(has_label_BT, -logprobs_N)
        tokens_B = has_label_BT.sum(1).tolist()
        return [LossSum(*sums) for sums in zip(nats_BT.sum(1).tolist(), tokens_B, strict=True)]

    def likelihoods(
        self, continuations: Sequence[Continuation], done: Callable[[int], None] = nothing
    ) -> list[Likelihood]:
        """How likely each continuation is after its context, in order. What contexts have in common is computed once.

        Args:
            continuations: Contexts and continuations.
            done: Called with the number of answers so far.

        Raises:
            ValueError: If a context or a continuation is empty.
        """
        may_share = self.net.size.rope_scaling != "dynamic"
        batches = list(batches_of(continuations, self.batch_tokens, may_share))
        by_first = {batch.asked[0]: batch for batch in batches}

        def compute(asked: Sequence[int]) -> list[Likelihood]:
            found = likelihoods(self.net, by_first[asked[0]], continuations)
            return [found[index] for index in asked]

        def request(index: int) -> Request:
            return "continuation", whole(continuations[index].context), whole(continuations[index].ids)

        answers = in_batches(self.store, request, [batch.asked for batch in batches], compute, done)
        return [Likelihood(*answer) for answer in answers]

    def answers(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, done: Callable[[int], None] = nothing
    ) -> list[list[int]]:
        """Ids of an answer to each prompt, with what ended it.

        Args:
            prompts: Token ids of each.
            sampling: How to choose tokens and when to stop. Its seed, and the place of a prompt, fix what is drawn.
            done: Called with the number of answers so far.
        """
        sampling = replace(sampling, logprobs=False)
        how = {name: value for name, value in asdict(sampling).items() if name != "seed" or not sampling.is_greedy}
        before: Counter[tuple[int, ...]] = Counter()
        again = [0] * len(prompts)
        if not sampling.is_greedy:  # the same prompt may be asked several times, for other answers
            for index, prompt in enumerate(prompts):
                again[index] = before[tuple(prompt)]
                before[tuple(prompt)] += 1
        lengths = [len(prompt) + sampling.max_new_tokens for prompt in prompts]

        def compute(batch: Sequence[int]) -> list[list[int]]:
            # Each part has a seed of its own, so that those before it need not be drawn again.
            seed = None if sampling.seed is None else sampling.seed + batch[0]
            asked = [prompts[index] for index in batch]
            return [c.ids for c in self.engine.generate(asked, replace(sampling, seed=seed))]

        def request(index: int) -> Request:
            return "answer", whole(prompts[index]), how, again[index]

        batches = list(of_like_length(lengths, self.answer_tokens))
        return in_batches(self.store, request, batches, compute, done)

    def greedy(self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """The most probable continuation of each prompt, as text without the token that ended it.

        Args:
            prompts: Token ids of each.
            max_new_tokens: The most tokens of an answer.
            stop: Names of special tokens that end it, besides ``</s>``.
        """
        stop_ids = tuple(self.tokenizer.special(name) for name in ("</s>", *stop))
        sampling = Sampling(max_new_tokens=max_new_tokens, temperature=0, stop_ids=stop_ids)
        answers = self.answers(prompts, sampling)
        return [self.tokenizer.decode([i for i in ids if i not in stop_ids]) for ids in answers]


def whole(ids: Sequence[int]) -> list[int]:
    """Ids as plain numbers, which JSON can hold."""
    return [int(id_) for id_ in ids]


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
