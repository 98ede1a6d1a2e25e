r"""ChatML as InternLM2 speaks it (report section 4.4).

``<|im_start|>ROLE[ name=<|plugin|>]\nCONTENT<|im_end|>\n`` for the roles system, user, assistant and environment.
A tool call inside a turn is enclosed in ``<|action_start|>`` and ``<|action_end|>``. Loss falls on what the trained
roles say and on their end, never on headers. A model without loss on the end of a turn never learns to stop.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from internlm2_records import ROLES, TOOLS, Message

from internlm2_core.text.tokenizer import Tokenizer, special_ids

NOTHING: Mapping[int, Sequence[int]] = MappingProxyType({})


@dataclass(frozen=True)
class EncodedChat:
    """Ids of a conversation and which of them carry loss.

    Attributes:
        ids: Token ids.
        loss_mask: Whether each of these tokens is to be predicted.
    """

    ids: list[int]
    loss_mask: list[bool]


class ChatFormat:
    """Turns into ids.

    Args:
        tokenizer: Encodes contents. Text that spells a special token stays text.

    Raises:
        ValueError: If the vocabulary lacks the tokens that begin and end a turn.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, own = tokenizer, special_ids(tokenizer)
        if missing := [name for name in ("<|im_start|>", "<|im_end|>") if name not in own]:
            folder = "FOLDER" if tokenizer.path is None else tokenizer.path.parent
            raise ValueError(
                f"The tokenizer {tokenizer.path} lacks {', '.join(missing)} of the chat format. The model can continue "
                f"plain text. `internlm2 convert from={folder} to=NEW format=released chat_names=true` adds them, and "
                "fine-tuning of NEW teaches them."
            )
        self.start, self.end = own["<|im_start|>"], own["<|im_end|>"]
        self.newline = tokenizer.encode("\n")

    def encode(
        self,
        messages: Sequence[Message],
        train_roles: Collection[str] = ("assistant",),
        add_generation_prompt: bool = False,
        said: Mapping[int, Sequence[int]] = NOTHING,
    ) -> EncodedChat:
        """Encode a conversation.

        Args:
            messages: The turns in order.
            train_roles: Roles whose words carry loss, but in turns with ``weight`` 0.
            add_generation_prompt: Open an assistant turn at the end.
            said: Ids that a model has generated for the turns at these places, without their end. They are not encoded
                again.

        Raises:
            ValueError: If a role or a tool is not known.
        """
        ids = list(self.tokenizer.begin)
        mask = [False] * len(ids)
        for place, message in enumerate(messages):
            header = self.header(message)
            turn = [*header, *said[place], self.end] if place in said else self.turn(message)
            trained = message["role"] in train_roles and message.get("weight") != 0
            # The header's ids, less its last where the content joined it.
            opened = next(
                (i for i, (one, two) in enumerate(zip(header, turn, strict=False)) if one != two), len(header)
            )
            ids += [*turn, *self.newline]
            mask += [False] * opened + [trained] * (len(turn) - opened) + [False] * len(self.newline)
        if add_generation_prompt:
            opening = self.header({"role": "assistant", "content": ""})
            ids += opening
            mask += [False] * len(opening)
        return EncodedChat(ids, mask)

    def prompt(self, messages: Sequence[Message], said: Mapping[int, Sequence[int]] = NOTHING) -> list[int]:
        """Ids after which the assistant speaks. The arguments are those of `encode`."""
        return self.encode(messages, add_generation_prompt=True, said=said).ids

    def header(self, message: Message) -> list[int]:
        """Ids that open a turn.

        Raises:
            ValueError: If the role or the tool is not known.
        """
        return self._opened(message, "")

    def turn(self, message: Message) -> list[int]:
        """Ids of a turn with its end.

        What lies between two special tokens is encoded as one text, as every reader of the chat template does. So a
        line break at the beginning of the content joins that of the header where the vocabulary has both as one token.

        Raises:
            ValueError: If the role or a tool is not known.
        """
        return [*self._opened(message, message["content"]), *self._call(message), self.end]

    def body(self, message: Message) -> list[int]:
        """Ids of what a turn says and calls, with its end, as a model says it after the header."""
        return [*self.tokenizer.encode(message["content"]), *self._call(message), self.end]

    def _opened(self, message: Message, content: str) -> list[int]:
        role, name = message["role"], message.get("name")
        if role not in ROLES:
            raise ValueError(f"role={role!r} of a message must be one of {', '.join(ROLES)}.")
        encode = self.tokenizer.encode
        if name:
            return [self.start, *encode(f"{role} name="), self._tool(name), *encode(f"\n{content}")]
        return [self.start, *encode(f"{role}\n{content}")]

    def _call(self, message: Message) -> list[int]:
        if (call := message.get("tool_call")) is None:
            return []
        special = self.tokenizer.special
        words = self.tokenizer.encode(f"\n{call['content']}")
        return [special("<|action_start|>"), self._tool(call["tool"]), *words, special("<|action_end|>")]

    def _tool(self, name: str) -> int:
        if name not in TOOLS:
            raise ValueError(f"name={name!r} of a tool must be one of {', '.join(TOOLS)}.")
        return self.tokenizer.special(name)


class ChatEncoder:
    """A conversation as ids and loss mask: the encoder that batches of conversations are made with.

    Args:
        tokenizer: Encodes contents.
        train_roles: Roles whose words carry loss, or one role.

    Raises:
        ValueError: If a role is not known, or there are no roles.
    """

    def __init__(self, tokenizer: Tokenizer, train_roles: str | Collection[str] = ("assistant",)) -> None:
        self.chat = ChatFormat(tokenizer)
        self.train_roles = (train_roles,) if isinstance(train_roles, str) else tuple(train_roles)
        if not self.train_roles or not set(self.train_roles) <= set(ROLES):
            raise ValueError(f"train_roles={list(self.train_roles)} must be one or more of {', '.join(ROLES)}.")

    def __call__(self, messages: Sequence[Message]) -> EncodedChat:
        """Encode one conversation, see `ChatFormat.encode`."""
        return self.chat.encode(messages, self.train_roles)
