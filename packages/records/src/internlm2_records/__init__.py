"""Records and conversations that others wrote, read in one way for every package.

    .jsonl .ndjson .json (.gz, .zst) ─┐                  ┌─ Placed: value, or fault, with file and line
    .parquet .arrow                   ├─► read_records ──┤
    folder of files, or of `datasets` ┘                  └─► parse(conversation_of) ─► [Message, ...]

A record that cannot be read is a fault with its place. The caller counts it, or raises it with `Placed.parse`.
"""

from internlm2_records.files import Placed, Reader, Record, read_objects, read_records
from internlm2_records.turns import ROLES, TOOLS, Message, ToolCall, conversation_of, turns_of, whole, with_tools

__version__ = "0.1.0"

__all__ = [
    "ROLES",
    "TOOLS",
    "Message",
    "Placed",
    "Reader",
    "Record",
    "ToolCall",
    "conversation_of",
    "read_objects",
    "read_records",
    "turns_of",
    "whole",
    "with_tools",
]
