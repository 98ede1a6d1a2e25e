r"""ChatML as InternLM2 speaks it (report section 4.4).

``<|im_start|>ROLE[ name=<|plugin|>]\nCONTENT<|im_end|>\n`` for the roles system, user, assistant and environment.
A tool call inside a turn is enclosed in ``<|action_start|>`` and ``<|action_end|>``. Loss falls on what the trained
roles say and on their end, never on headers. A model without loss on the end of a turn never learns to stop.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from internlm2_records import ROLES, TOOLS, Message

from internlm2_core.text.tokenizer import Tokenizer

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
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.start, self.end = tokenizer.special("<|im_start|>"), tokenizer.special("<|im_end|>")
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
            train_roles: Roles whose words carry loss.
            add_generation_prompt: Open an assistant turn at the end.
            said: Ids that a model has generated for the turns at these places, without their end. They are not encoded
                again.

        Raises:
            ValueError: If a role or a tool is not known.
        """
        ids: list[int] = []
        mask: list[bool] = []
        for place, message in enumerate(messages):
            header = self._header(message)
            body = [*said[place], self.end] if place in said else self.body(message)
            trained = message["role"] in train_roles
            ids += [*header, *body, *self.newline]
            mask += [False] * len(header) + [trained] * len(body) + [False] * len(self.newline)
        if add_generation_prompt:
            opening = [self.start, *self.tokenizer.encode("assistant"), *self.newline]
            ids += opening
            mask += [False] * len(opening)
        return EncodedChat(ids, mask)

    def prompt(self, messages: Sequence[Message], said: Mapping[int, Sequence[int]] = NOTHING) -> list[int]:
        """Ids after which the assistant speaks. The arguments are those of `encode`."""
        return self.encode(messages, add_generation_prompt=True, said=said).ids

    def _header(self, message: Message) -> list[int]:
        role, name = message["role"], message.get("name")
        if role not in ROLES:
            raise ValueError(f"role={role!r} of a message must be one of {', '.join(ROLES)}.")
        ids = [self.start, *self.tokenizer.encode(role)]
        if name:
            ids += [*self.tokenizer.encode(" name="), self._tool(name)]
        return [*ids, *self.newline]

    def body(self, message: Message) -> list[int]:
        """Ids of what a turn says and calls, with its end."""
        ids = list(self.tokenizer.encode(message["content"]))
        call = message.get("tool_call")
        if call:
            special = self.tokenizer.special
            ids += [special("<|action_start|>"), self._tool(call["tool"]), *self.newline]
            ids += [*self.tokenizer.encode(call["content"]), special("<|action_end|>")]
        return [*ids, self.end]

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


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] }}"
    "{% if message.get('name') %}{{ ' name=' + message['name'] }}{% endif %}"
    "{{ '\\n' + message['content'] }}"
    "{% if message.get('tool_call') %}{{ '<|action_start|>' + message['tool_call']['tool'] + '\\n' + "
    "message['tool_call']['content'] + '<|action_end|>' }}{% endif %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The same format as a Jinja template for Transformers and the engines that read one."""
