r"""From conversations to the token ids that the reward model scores.

    [condition turn] [turns of the conversation] <|im_start|>assistant\n REPLY <|im_end|>\n [UNUSED_TOKEN_130]

The score is read at the last token, which occurs nowhere else, so it is a function of the whole conversation.
"""

from collections.abc import Sequence

from internlm2_core.text.chat import ChatFormat
from internlm2_core.text.tokenizer import SCORE_TOKEN, SPECIAL_TOKENS, Tokenizer
from internlm2_records import TOOLS, Message, turns_of

from internlm2_align.preferences.preference import Preference, Reply, as_turn, reply_of
from internlm2_align.reward.conditions import ConditionTable
from internlm2_align.reward.shared import Group

SPOKEN = ("<|im_end|>", "<|action_start|>", "<|action_end|>", *TOOLS)
"""Special tokens that an assistant says."""


class TooLongError(ValueError):
    """A conversation with more tokens than the limit."""


class ConversationEncoder:
    """Encodes prompts with their replies under a condition.

    Args:
        tokenizer: Must hold the ChatML tokens and the score token.
        conditions: What goes before a conversation, by domain.
        max_tokens: Longest conversation with one reply, in tokens. 8,192 in the report.

    Attributes:
        unspoken: Ids that an assistant never says: all special tokens but the end of its turn and those of a call.

    Raises:
        KeyError: If the tokenizer has no score token.
    """

    def __init__(self, tokenizer: Tokenizer, conditions: ConditionTable, max_tokens: int = 8192) -> None:
        self.tokenizer, self.conditions, self.max_tokens = tokenizer, conditions, max_tokens
        self.chat = ChatFormat(tokenizer)
        self.ending = [*self.chat.newline, tokenizer.special(SCORE_TOKEN)]
        self.unspoken = tuple(id_ for id_, piece in enumerate(tokenizer.pieces()) if _is_unspoken(piece))

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
        """Ids of a prompt and a sampled reply, as PPO has them. The reply is encoded anew from what it says.

        Args:
            prompt_ids: The prompt, an assistant turn opened at the end.
            reply_ids: What was sampled. Where its text takes more tokens and does not fit, it is taken as sampled.
            domain: Picks the condition.
            language: Of the condition.

        Raises:
            UnknownDomainError: If the domain has no condition.
            TooLongError: If the reply as sampled with its prompt is longer than ``max_tokens``.
        """
        turns = prompt_ids[len(self.tokenizer.begin) :]  # the condition begins the text
        before = [*self.chat.encode(self.conditions.messages(domain, language)).ids, *turns]
        said = self.reply(self.chat.body(as_turn(self.reply_of_ids(reply_ids))))
        fits = len(before) + len(said) <= self.max_tokens
        return self._checked(Group(before, [said if fits else self.reply(reply_ids)]))

    def tokens_around(self, domain: str, language: str = "en") -> int:
        """Tokens that the reward model reads beside a prompt and what was sampled: condition, end and score token.

        Args:
            domain: Picks the condition.
            language: Of the condition.
        """
        condition = self.chat.encode(self.conditions.messages(domain, language)).ids
        return len(condition) - len(self.tokenizer.begin) + len(self.reply([]))

    def text_of(self, ids: Sequence[int]) -> str:
        """A sampled reply as text, without its end of turn."""
        return self.tokenizer.decode([id_ for id_ in ids if id_ != self.chat.end])

    def reply_of_ids(self, ids: Sequence[int]) -> Reply:
        """What a sampled reply says: a message where it ends in a whole call of a tool, else a text.

        Special tokens elsewhere are spelt out and become text.
        """
        said = list(ids[:-1]) if ids and ids[-1] == self.chat.end else list(ids)
        opening, closing = map(self.tokenizer.special, ("<|action_start|>", "<|action_end|>"))
        if said[-1:] == [closing] and said.count(opening) == said.count(closing) == 1:
            start = said.index(opening)
            call = said[start + 1 : -1]
            tool = next((name for name in TOOLS if call[:1] == [self.tokenizer.special(name)]), None)
            if tool and call[1 : 1 + len(self.chat.newline)] == self.chat.newline:
                content = self.tokenizer.decode(call[1 + len(self.chat.newline) :])
                words = self.tokenizer.decode(said[:start])
                return {"role": "assistant", "content": words, "tool_call": {"tool": tool, "content": content}}
        return self.tokenizer.decode(said)

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


def _is_unspoken(piece: str) -> bool:
    # The released vocabulary has spare pieces without a meaning.
    return piece not in SPOKEN and (piece in SPECIAL_TOKENS or piece.startswith("[UNUSED_TOKEN_"))
