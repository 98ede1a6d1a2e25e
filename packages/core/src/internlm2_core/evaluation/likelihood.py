"""How likely given continuations are, with what several of them begin with computed once.

    few shots of a subject        1 row      ── cache ─┐
      question, question, ...     B rows     ◄─ copied ┘── cache ─┐
        A  B  C  D   A  B ...     R rows     ◄────────────copied ─┘── log-probabilities

Choices of one token need no row of their own: they are read at the same place.

Legend: B rows, T tokens, N scored tokens.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from internlm2_core.nn.cache import KeyValueCache
from internlm2_core.nn.language_model import LanguageModel

MIN_SHARED = 32
"""Tokens that are worth a pass of their own."""

MIN_SAVED = 256
"""Tokens that must be saved, or questions with a common beginning are batched like the others."""

KEPT_SHARE = 0.8
"""Questions join a common beginning as long as this share of it is left."""


class Continuation(NamedTuple):
    """Tokens that may follow others.

    Attributes:
        context: Ids before them, one or more.
        ids: Their ids, one or more.
    """

    context: Sequence[int]
    ids: Sequence[int]


class Likelihood(NamedTuple):
    """What a model says of a continuation.

    Attributes:
        logprob: Sum of ln p over its tokens, in nats.
        is_greedy: Whether each token is the most probable one at its place.
    """

    logprob: float
    is_greedy: bool


@dataclass
class Row:
    """Tokens that are computed, and the continuations that are read there.

    Attributes:
        ids: Context and continuation, without the last token.
        asked: Index of each continuation.
    """

    ids: tuple[int, ...]
    asked: list[int] = field(default_factory=list)


@dataclass
class Question:
    """Rows with one context.

    Attributes:
        rows: Its rows.
        stem: Tokens that they have in common, all of them before the first that is scored.
    """

    rows: list[Row]
    stem: int

    @property
    def longest(self) -> int:
        """Tokens of its longest row."""
        return max(len(row.ids) for row in self.rows)


@dataclass(frozen=True)
class Batch:
    """Questions that are computed together.

    Attributes:
        questions: The questions.
        shared: Tokens that all of them begin with. 0 shares none.
        has_stems: Whether what the rows of a question have in common is computed once.
    """

    questions: list[Question]
    shared: int = 0
    has_stems: bool = False

    @property
    def asked(self) -> list[int]:
        """Index of each continuation that is answered."""
        return [index for question in self.questions for row in question.rows for index in row.asked]


def batches_of(requests: Sequence[Continuation], batch_tokens: int, may_share: bool = True) -> Iterator[Batch]:
    """Continuations in batches. The same requests always give the same batches.

    Args:
        requests: The continuations.
        batch_tokens: The most tokens of a batch, those that are shared counted in every row.
        may_share: Whether beginnings may be computed once. Dynamic RoPE turns them by the length of the whole row.

    Raises:
        ValueError: If a context or a continuation is empty.
    """
    alone: list[Question] = []
    for shared, cluster in _clusters(_questions(requests)):
        if may_share and shared * (len(cluster) - 1) >= MIN_SAVED:
            yield from _filled(cluster, shared, batch_tokens)
        else:
            alone += cluster
    pays = [may_share and len(question.rows) > 1 and question.stem >= MIN_SHARED for question in alone]
    yield from _filled([question for question, own in zip(alone, pays, strict=True) if own], 0, batch_tokens)
    rest = [row for question, own in zip(alone, pays, strict=True) if not own for row in question.rows]
    yield from _filled([Question([row], 0) for row in rest], 0, batch_tokens)


def _questions(requests: Sequence[Continuation]) -> list[Question]:
    rows: dict[tuple[int, ...], dict[tuple[int, ...], Row]] = defaultdict(dict)
    for index, (context, ids) in enumerate(requests):
        if not len(context) or not len(ids):
            raise ValueError(
                f"Continuation {index} of {len(requests)} must have one token or more, and its context too."
            )
        whole = (*context, *ids[:-1])
        rows[tuple(context)].setdefault(whole, Row(whole)).asked.append(index)
    # The last token of the context is computed with the continuation: the first of that is read there.
    questions = [Question(list(own.values()), len(context) - 1) for context, own in rows.items()]
    return sorted(questions, key=lambda question: question.rows[0].ids)


def _clusters(questions: list[Question]) -> Iterator[tuple[int, list[Question]]]:
    """Neighbours with a common beginning, and its length."""
    cluster: list[Question] = []
    shared = 0
    for question in questions:
        common = _common(cluster[0].rows[0].ids, question.rows[0].ids, min(shared, question.stem)) if cluster else 0
        if common >= MIN_SHARED and (len(cluster) == 1 or common >= KEPT_SHARE * shared):
            cluster.append(question)
            shared = common
            continue
        if cluster:
            yield shared, cluster
        cluster, shared = [question], question.stem
    if cluster:
        yield shared, cluster


def _common(one: Sequence[int], two: Sequence[int], limit: int) -> int:
    return next((place for place in range(limit) if one[place] != two[place]), limit)


def _filled(questions: list[Question], shared: int, batch_tokens: int) -> Iterator[Batch]:
    """Questions of like length, as many as a batch holds. A question is not cut."""
    sizes = [question.longest * len(question.rows) for question in questions]
    batch: list[Question] = []
    rows = longest = 0
    for index in sorted(range(len(questions)), key=lambda i: (-questions[i].longest, -sizes[i])):
        question = questions[index]
        if batch and (rows + len(question.rows)) * longest > batch_tokens:
            yield _batch(batch, shared)
            batch, rows = [], 0
        longest = longest if batch else question.longest
        batch.append(question)
        rows += len(question.rows)
    if batch:
        yield _batch(batch, shared)


def _batch(questions: list[Question], shared: int) -> Batch:
    saved = sum((len(question.rows) - 1) * (question.stem - shared) for question in questions)
    return Batch(questions, shared, saved >= MIN_SHARED * len(questions))


@torch.inference_mode()
def likelihoods(net: LanguageModel, batch: Batch, requests: Sequence[Continuation]) -> dict[int, Likelihood]:
    """What the network says of a batch, by the index of each continuation.

    Args:
        net: The network.
        batch: The batch.
        requests: All continuations.
    """
    rows = [row for question in batch.questions for row in question.rows]
    starts, cache = [0] * len(rows), None
    if batch.shared or batch.has_stems:
        starts, cache = _beginnings(net, batch)
    pieces = [row.ids[start:] for row, start in zip(rows, starts, strict=True)]
    ids_BT = padded_ids(pieces).to(net.output.weight.device)
    places: list[int] = []
    targets: list[int] = []
    spans: list[tuple[int, int]] = []
    for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
        for index in row.asked:
            context, ids = requests[index]
            first = number * ids_BT.shape[1] + len(context) - 1 - start
            places += range(first, first + len(ids))
            targets += ids
            spans.append((index, len(ids)))
    device = ids_BT.device
    places_N, targets_N = torch.tensor(places, device=device), torch.tensor(targets, device=device)
    positions_BT = None
    if cache is None and net.model.rope.is_dynamic:
        positions_BT = restarting([len(piece) for piece in pieces], ids_BT.shape[1]).to(device)
    scored_2N = net(ids_BT, positions_BT, cache=cache, places_N=places_N, targets_N=targets_N, with_greedy=True)
    assert isinstance(scored_2N, Tensor)
    return _summed(scored_2N, spans)


def _summed(scored_2N: Tensor, spans: Sequence[tuple[int, int]]) -> dict[int, Likelihood]:
    parts = scored_2N.double().cpu().split([length for _, length in spans], dim=1)
    return {
        index: Likelihood(float(part_2N[0].sum()), bool(part_2N[1].all()))
        for (index, _), part_2N in zip(spans, parts, strict=True)
    }


def _beginnings(net: LanguageModel, batch: Batch) -> tuple[list[int], KeyValueCache]:
    """Compute what rows share. Returns where each row begins after that, and the cache with a line for each."""
    questions, shared = batch.questions, batch.shared
    stems = [max(question.stem, shared) if batch.has_stems else shared for question in questions]
    counts = [len(question.rows) for question in questions]
    capacity = max(stems) + max(question.longest - stem for question, stem in zip(questions, stems, strict=True))
    device = net.output.weight.device
    cache = KeyValueCache(net.size.layers, 1 if shared else len(questions), capacity, device)
    if shared:
        _extend(net, cache, [questions[0].rows[0].ids[:shared]])
        cache.keep_rows(torch.zeros(len(questions), dtype=torch.int64, device=device))
    if batch.has_stems:
        _extend(net, cache, [q.rows[0].ids[shared:stem] for q, stem in zip(questions, stems, strict=True)])
    if sum(counts) > len(counts):
        places_B = torch.arange(len(questions), device=device)
        cache.keep_rows(places_B.repeat_interleave(torch.tensor(counts, device=device)))
    return [stem for stem, count in zip(stems, counts, strict=True) for _ in range(count)], cache


def _extend(net: LanguageModel, cache: KeyValueCache, pieces: Sequence[Sequence[int]]) -> None:
    before_B = cache.lengths_B.clone()
    lengths_B = torch.tensor([len(piece) for piece in pieces], device=before_B.device)
    nowhere_N = torch.zeros(1, dtype=torch.int64, device=before_B.device)
    net(padded_ids(pieces).to(before_B.device), cache=cache, places_N=nowhere_N)
    cache.truncate(before_B + lengths_B)


def padded_ids(pieces: Sequence[Sequence[int]]) -> Tensor:
    """Ids as rows with 0 at their ends, [B, T] int64."""
    ids_BT = torch.zeros(len(pieces), max(map(len, pieces)), dtype=torch.int64)
    for row, piece in enumerate(pieces):
        ids_BT[row, : len(piece)] = torch.as_tensor(piece, dtype=torch.int64)
    return ids_BT


def restarting(lengths: Sequence[int], tokens: int) -> Tensor:
    """Positions that restart where padding begins, [B, T] int64.

    Args:
        lengths: Tokens of each row.
        tokens: Tokens of a row with its padding.
    """
    positions_T = torch.arange(tokens)
    return torch.stack([torch.where(positions_T < length, positions_T, positions_T - length) for length in lengths])
