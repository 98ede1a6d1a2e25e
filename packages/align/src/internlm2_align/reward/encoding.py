r"""From conversations to the token ids that the reward model scores.

    [condition turn] [turns of the conversation] <|im_start|>assistant\n REPLY <|im_end|>\n [UNUSED_TOKEN_130]

The score is read at the last token, which occurs nowhere else, so it is a function of the whole conversation.
"""

from collections.abc import Sequence

from internlm2_core.text.chat import ChatFormat
from internlm2_core.text.tokenizer import SCORE_TOKEN, Tokenizer
from internlm2_records import Message, turns_of

from internlm2_align.preferences.preference import Preference, Reply, as_turn, reply_of
from internlm2_align.reward.conditions import ConditionTable
from internlm2_align.reward.shared import Group


class TooLongError(ValueError):
    """A conversation with more tokens than the limit."""


class ConversationEncoder:
    """Encodes prompts with their replies under a condition.

    Args:
        tokenizer: Must hold the ChatML tokens and the score token.
        conditions: What goes before a conversation, by domain.
        max_tokens: Longest conversation with one reply, in tokens. 8,192 in the report.

    Raises:
        KeyError: If the tokenizer has no score token.
    """

    def __init__(self, tokenizer: Tokenizer, conditions: ConditionTable, max_tokens: int = 8192) -> None:
        self.tokenizer, self.conditions, self.max_tokens = tokenizer, conditions, max_tokens
        self.chat = ChatFormat(tokenizer)
        self.ending = [*self.chat.newline, tokenizer.special(SCORE_TOKEN)]

    def arguments(self) -> dict[str, object]:
        """Of the constructor, for checkpoints of the modules that hold this encoder."""
        return {"tokenizer": self.tokenizer, "conditions": self.conditions, "max_tokens": self.max_tokens}

    def group(self, prompt: object, replies: Sequence[Reply], domain: str, language: str = "en") -> Group:
        """Ids of a prompt with replies.

        Args:
            prompt: Messages as OpenAI, ShareGPT or we write them, or a text that the user says.
            replies: Texts, or an assistant's messages where it calls a tool.
            domain: Picks the condition.
            language: Of the condition.

        Raises:
            UnknownDomainError: If the domain has no condition.
            TooLongError: If a reply with its prompt is longer than ``max_tokens``.
            ValueError: If the prompt holds something else than messages.
        """
        return self._group(turns_of(prompt), replies, domain, language)

    def pair(self, pair: Preference) -> Group:
        """Ids of a prompt with the chosen and the rejected reply.

        Raises:
            UnknownDomainError: If the domain has no condition.
            TooLongError: If a reply with its prompt is longer than ``max_tokens``.
        """
        return self._group(pair.prompt, (pair.chosen, pair.rejected), pair.domain, pair.language)

    def conversation(self, turns: object, domain: str, language: str = "en") -> Group:
        """Ids of a conversation that ends in the assistant's reply.

        Args:
            turns: As the prompt of `group`, with the reply at the end.
            domain: Picks the condition.
            language: Of the condition.

        Raises:
            ValueError: If it does not end so.
        """
        messages = turns_of(turns)
        if not messages or messages[-1]["role"] != "assistant":
            raise ValueError(
                "A conversation to be scored ends in an assistant turn. This one has roles "
                f"{[message['role'] for message in messages]}."
            )
        return self._group(messages[:-1], [reply_of(messages[-1:])], domain, language)

    def group_of_ids(
        self, prompt_ids: Sequence[int], reply_ids: Sequence[int], domain: str, language: str = "en"
    ) -> Group:
        """Ids of a prompt and a sampled reply that already are ids, as PPO has them. Only the condition is encoded.

        Args:
            prompt_ids: The prompt, an assistant turn opened at the end.
            reply_ids: What was sampled.
            domain: Picks the condition.
            language: Of the condition.
        """
        condition = self.chat.encode(self.conditions.messages(domain, language)).ids
        turns = prompt_ids[len(self.tokenizer.begin) :]  # the condition begins the text
        return self._checked(Group([*condition, *turns], [self.reply(reply_ids)]))

    def reply(self, ids: Sequence[int]) -> list[int]:
        """A reply with its end of turn (added where sampling stopped short of it) and score token."""
        closed = list(ids) if ids and ids[-1] == self.chat.end else [*ids, self.chat.end]
        return [*closed, *self.ending]

    def _group(self, prompt: Sequence[Message], replies: Sequence[Reply], domain: str, language: str) -> Group:
        ids = self.chat.prompt([*self.conditions.messages(domain, language), *prompt])
        return self._checked(Group(ids, [self.reply(self.chat.body(as_turn(reply))) for reply in replies]))

    def _checked(self, group: Group) -> Group:
        tokens = len(group.prompt) + max(map(len, group.replies), default=0)
        if tokens > self.max_tokens:
            raise TooLongError(
                f"A conversation has {tokens} tokens, the limit is {self.max_tokens}. Shorten it or raise max_tokens."
            )
        return group
