"""Prompt: what is asked, and the domain that its reply is scored by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from internlm2_records import Message


@dataclass(frozen=True)
class Prompt:
    """One query.

    Attributes:
        messages: The conversation before the reply.
        ids: The same as token ids, an assistant turn opened at the end.
        domain: Names the condition prompt that the reward model scores the reply by.
        language: Of the condition prompt.
        record: The record that it came from, if any. A judge may want it.
    """

    messages: tuple[Message, ...]
    ids: tuple[int, ...]
    domain: str
    language: str = "en"
    record: Mapping[str, Any] = field(default_factory=dict)
