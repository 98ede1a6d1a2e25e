"""What ``tokenizer_config.json`` beside a tokenizer's file says of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG_KEYS = {"<s>": "bos_token", "</s>": "eos_token", "<unk>": "unk_token"}
"""Keys of ``tokenizer_config.json`` for tokens that others may call otherwise."""


@dataclass(frozen=True)
class Said:
    """What ``tokenizer_config.json`` says of a tokenizer.

    Attributes:
        adds: Whether texts begin with ``<s>``. None where it does not say.
        names: How it calls ``<s>``, ``</s>`` and ``<unk>``.
    """

    adds: bool | None
    names: Mapping[str, str]


def said_beside(file: Path) -> Said:
    """What the folder of a tokenizer's file says of it.

    Raises:
        ValueError: If ``tokenizer_config.json`` beside the file is broken.
    """
    config: dict[str, Any] = {}
    beside = file.with_name("tokenizer_config.json")
    if beside.is_file():
        try:
            config = json.loads(beside.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{beside} is not JSON: {error}.") from error
    spelt = {name: spelling(config.get(key)) for name, key in CONFIG_KEYS.items()}
    # Classes that put ``<s>`` in front unless they are told otherwise.
    is_llama = str(config.get("tokenizer_class", "")).startswith(("InternLM2Tokenizer", "LlamaTokenizer"))
    adds = config.get("add_bos_token", True if is_llama else None)
    return Said(adds, {name: value for name, value in spelt.items() if value})


def spelling(token: Any) -> Any:
    """The text of a token that a config describes as an object. Other values stay as they are."""
    return token["content"] if isinstance(token, dict) and "content" in token else token
