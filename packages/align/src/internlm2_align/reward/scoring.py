"""Scores of many conversations at once: sorted into full, padding-free batches, answered in the given order."""

import math
from collections.abc import Iterable, Sequence

import torch
from internlm2_records import Message

from internlm2_align.budget import plan_batches
from internlm2_align.preferences.preference import Preference
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import RewardNetwork
from internlm2_align.reward.shared import Group, PackedGroups, pack_groups


class Scorer:
    """A reward network with its way of encoding.

    Args:
        net: Used in eval mode and without gradients.
        encoder: Holds the condition table, tokenizer and length limit.
        budget_tokens: Tokens scored at once.
    """

    def __init__(self, net: RewardNetwork, encoder: ConversationEncoder, budget_tokens: int = 16_384) -> None:
        self.net, self.encoder, self.budget_tokens = net, encoder, budget_tokens

    @torch.no_grad()
    def scores(self, groups: Sequence[Group], must_be_finite: bool = True) -> list[list[float]]:
        """Scores of the replies of groups that the encoder has made.

        Args:
            groups: Prompts with their replies.
            must_be_finite: Whether a score that is not finite is refused.

        Raises:
            ValueError: If a score is not finite and must be.
        """
        lengths = [group.stored_tokens for group in groups]
        budget = max([self.budget_tokens, *lengths])
        device = self.net.device
        was_training = self.net.training
        self.net.eval()
        result: list[list[float]] = [[] for _ in groups]
        try:
            for batch in plan_batches(lengths, budget, seed=None):
                packed = pack_groups([groups[index] for index in batch])
                scores = iter(self.net(PackedGroups(*(tensor.to(device) for tensor in packed))).tolist())
                for index in batch:
                    result[index] = [next(scores) for _ in groups[index].replies]
        finally:
            self.net.train(was_training)
        for number, scores in enumerate(result, 1):
            if must_be_finite and not all(map(math.isfinite, scores)):
                raise ValueError(
                    f"The reward model scores conversation {number} of {len(result)} with {scores}, which must be "
                    "finite. Its weights are broken, or too large for its precision."
                )
        return result

    def conversations(
        self, conversations: Sequence[Sequence[Message]], domains: Sequence[str], languages: Iterable[str]
    ) -> list[float]:
        """Scores of conversations that end in an assistant's reply, each by its own domain.

        Args:
            conversations: The conversations.
            domains: Domain of each.
            languages: Language of each one's condition.

        Raises:
            ValueError: If a conversation does not end in an assistant turn, or is too long.
        """
        groups = [self.encoder.conversation(*each) for each in zip(conversations, domains, languages, strict=True)]
        return [scores[0] for scores in self.scores(groups)]

    def pairs(self, pairs: Sequence[Preference]) -> list[tuple[float, float]]:
        """Scores of the chosen and the rejected reply of each pair."""
        return [(chosen, rejected) for chosen, rejected in self.scores([self.encoder.pair(pair) for pair in pairs])]
