"""Text to ids and back: tokenizers and the ChatML format."""

from internlm2_core.text.chat import ChatEncoder, ChatFormat, EncodedChat
from internlm2_core.text.tokenizer import (
    ByteTokenizer,
    ReleasedTokenizer,
    Tokenizer,
    TrainedTokenizer,
    check_same_vocabulary,
    load_tokenizer,
)

__all__ = [
    "ByteTokenizer",
    "ChatEncoder",
    "ChatFormat",
    "EncodedChat",
    "ReleasedTokenizer",
    "Tokenizer",
    "TrainedTokenizer",
    "check_same_vocabulary",
    "load_tokenizer",
]
