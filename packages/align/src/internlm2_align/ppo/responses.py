"""From sampled token ids to log-probabilities and values of the response tokens, padding-free.

Networks see prompts and responses laid end to end in one row. What a network says of a response token is read at the
token before it:

    row:       p p p a b c | p p d e          p prompt tokens, a ... e response tokens
    places:        a b c       d e            log pi(a) and V(before a) are read at the last p, and so on

PPO's arithmetic works on [B, R] tensors, padded on the right. `Responses.spread` brings one form into the other.

Shape suffixes: B responses, R response tokens (padded on the right), N response tokens in all, T tokens of a row,
D width, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from internlm2_core.nn.language_model import LanguageModel
from torch import Tensor

from internlm2_align.budget import plan_batches
from internlm2_align.reward.network import RewardNetwork


@dataclass(frozen=True)
class Responses:
    """Prompts with their responses.

    Attributes:
        prompts: Token ids of each prompt, at least one token each.
        responses: Token ids of each response, at least one token each. The end of turn is one of them.
    """

    prompts: Sequence[Sequence[int]]
    responses: Sequence[Sequence[int]]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each prompt with its response."""
        return [len(prompt) + len(reply) for prompt, reply in zip(self.prompts, self.responses, strict=True)]

    @property
    def tokens(self) -> int:
        """Response tokens in all."""
        return sum(map(len, self.responses))

    def mask(self) -> Tensor:
        """Bool [B, R], true on response tokens."""
        lengths_B = torch.tensor([len(reply) for reply in self.responses])
        return torch.arange(int(lengths_B.max())) < lengths_B.unsqueeze(1)

    def select(self, rows: Sequence[int]) -> "Responses":
        """Some of the responses."""
        return Responses([self.prompts[row] for row in rows], [self.responses[row] for row in rows])

    def micro_batches(self, budget_tokens: int) -> Iterator[list[int]]:
        """Rows of micro-batches of at most so many tokens. A longer response is alone in its micro-batch."""
        yield from plan_batches(self.lengths, max([budget_tokens, *self.lengths]), seed=None)

    def pack(self, device: torch.device) -> "PackedResponses":
        """One row of all tokens."""
        ids: list[int] = []
        positions: list[int] = []
        places: list[int] = []
        targets: list[int] = []
        for prompt, reply in zip(self.prompts, self.responses, strict=True):
            places += range(len(ids) + len(prompt) - 1, len(ids) + len(prompt) + len(reply) - 1)
            targets += reply
            ids += [*prompt, *reply]
            positions += range(len(prompt) + len(reply))
        rows = (torch.tensor(row, device=device) for row in ([ids], [positions], places, targets))
        return PackedResponses(*rows)

    def spread(self, values_N: Tensor) -> Tensor:
        """Values of the response tokens end to end, [N], as [B, R] with zeros on padding. Gradients pass."""
        mask_BR = self.mask().to(values_N.device)
        return values_N.new_zeros(mask_BR.shape).masked_scatter(mask_BR, values_N)


@dataclass(frozen=True)
class PackedResponses:
    """A row of prompts with responses.

    Attributes:
        input_ids: [1, T] int64.
        position_ids: [1, T] int64, from 0 at each prompt.
        places: [N] int64, where each response token is predicted.
        targets: [N] int64, the response tokens.
    """

    input_ids: Tensor
    position_ids: Tensor
    places: Tensor
    targets: Tensor

    def segments(self) -> None:
        """The documents show in the positions."""

    def apart(self) -> "PackedResponses":
        """Itself: each response has a prompt of its own."""
        return self


def token_logprobs(
    net: LanguageModel, packed: PackedResponses, temperature: float = 1.0, with_entropy: bool = False
) -> Tensor:
    """Log-probability of each response token, float32, without ever holding all logits.

    Args:
        net: The policy.
        packed: The responses, N tokens.
        temperature: Divides the logits: that of the sampling, so that ratios are those of the policy that sampled.
        with_entropy: Give the entropy of the policy at each token too.

    Returns:
        [N], or with entropies [2, N]: log-probabilities first.
    """
    logprobs = net(
        packed.input_ids,
        packed.position_ids,
        places_N=packed.places,
        targets_N=packed.targets,
        temperature=temperature,
        with_entropy=with_entropy,
    )
    assert isinstance(logprobs, Tensor)
    return logprobs


def token_values(critic: RewardNetwork, packed: PackedResponses) -> Tensor:
    """The critic's estimate before each response token, float32 [N].

    Args:
        critic: The critic.
        packed: The responses, N tokens.
    """
    values: Tensor = critic(packed)
    return values
