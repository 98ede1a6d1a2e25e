r"""From conversations to the token ids that the reward model scores.

    [condition turn] [turns of the conversation] <|im_start|>assistant\n REPLY <|im_end|>\n [UNUSED_TOKEN_130]

The score is read at the last token, which stands nowhere else, so it is a function of the whole conversation.
"""

from collections.abc import Sequence

from internlm2_core.text.chat import ChatFormat, Message
from internlm2_core.text.tokenizer import SCORE_TOKEN, Tokenizer

from internlm2_align.reward.conditions import ConditionTable
from internlm2_align.reward.shared import Group


class ConversationEncoder:
    """Encodes prompts with their replies under a condition.

    Args:
        tokenizer: Must hold the ChatML tokens and the score token.
        conditions: What goes before a conversation, by domain.
        max_tokens: Longest conversation with one reply, in tokens; 8,192 in the report.

    Raises:
        KeyError: If the tokenizer has no score token.
    """

    def __init__(self, tokenizer: Tokenizer, conditions: ConditionTable, max_tokens: int = 8192) -> None:
        self.tokenizer, self.conditions, self.max_tokens = tokenizer, conditions, max_tokens
        self.chat = ChatFormat(tokenizer)
        self.ending = [*self.chat.newline, tokenizer.special(SCORE_TOKEN)]

    def group(self, prompt: Sequence[Message], replies: Sequence[str], domain: str, language: str = "en") -> Group:
        """Ids of a prompt with replies in text."""
        condition = self.conditions.messages(domain, language)
        ids = self.chat.prompt([*condition, *prompt])
        return Group(ids, [self.reply(self.tokenizer.encode(reply)) for reply in replies])

    def group_of_ids(
        self, prompt_ids: Sequence[int], reply_ids: Sequence[int], domain: str, language: str = "en"
    ) -> Group:
        """Ids of a prompt and a sampled reply that already are ids, as PPO has them; only the condition is encoded."""
        condition = self.chat.encode(self.conditions.messages(domain, language)).ids
        return Group([*condition, *prompt_ids], [self.reply(reply_ids)])

    def reply(self, ids: Sequence[int]) -> list[int]:
        """A reply with its end of turn (added where sampling stopped short of it) and score token."""
        closed = list(ids) if ids and ids[-1] == self.chat.end else [*ids, self.chat.end]
        return [*closed, *self.ending]

    def fits(self, group: Group) -> bool:
        """Whether the prompt with each of its replies is within ``max_tokens``."""
        return len(group.prompt) + max(map(len, group.replies)) <= self.max_tokens

    def check(self, group: Group) -> Group:
        """The group itself.

        Raises:
            ValueError: If it does not fit.
        """
        if not self.fits(group):
            tokens = len(group.prompt) + max(map(len, group.replies))
            raise ValueError(
                f"A conversation has {tokens} tokens, the limit is {self.max_tokens}; shorten it or raise max_tokens."
            )
        return group
