"""Jupyter notebooks as Markdown: text and code in order, without outputs."""

import json
from typing import Any


def notebook_as_markdown(text: str) -> str:
    """The Markdown and code cells of a notebook in order, without outputs.

    Args:
        text: The notebook's JSON, of format 3 or 4.

    Raises:
        ValueError: If it is not a notebook.
    """
    try:
        book = json.loads(text)
        sheets = book.get("worksheets")
        cells = book["cells"] if sheets is None else [cell for sheet in sheets for cell in sheet["cells"]]
        language = book.get("metadata", {}).get("language_info", {}).get("name", "python")
        parts = [_cell(cell, str(language)) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"This is not a notebook ({type(error).__name__}: {error}).") from None
    return "\n\n".join(part for part in parts if part) + "\n"


def _cell(cell: dict[str, Any], language: str) -> str:
    source = cell.get("source", cell.get("input", ""))
    text = (source if isinstance(source, str) else "".join(source)).strip("\n")
    if not text.strip() or cell["cell_type"] not in ("code", "markdown", "heading"):
        return ""
    return f"```{language}\n{text}\n```" if cell["cell_type"] == "code" else text
