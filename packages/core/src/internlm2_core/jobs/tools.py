"""The functions that a model may call, from a file or as they are."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_core.generation.conversation import Tools


def tools_of(tools: Tools | None) -> list[Mapping[str, Any]] | None:
    """A list of functions.

    Args:
        tools: A JSON file, or the list itself.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a list of JSON objects.
    """
    if tools is None:
        return None
    source = "tools"
    found: Any = tools
    if isinstance(tools, str):
        source = f"tools={tools}"
        if not Path(tools).is_file():
            raise FileNotFoundError(f"{source} does not exist. It must be a JSON file with a list of functions.")
        try:
            found = json.loads(Path(tools).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{source} is not JSON: {error}.") from error
    if not isinstance(found, Sequence) or not found or not all(isinstance(each, Mapping) for each in found):
        raise ValueError(f"{source} must be a list of functions such as {{'name': ..., 'parameters': ...}}.")
    return list(found)
