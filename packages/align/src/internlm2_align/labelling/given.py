"""Which of the sources of comparisons was given."""

from collections.abc import Callable, Mapping
from typing import Any

from internlm2_align.labelling.sources import Source


def given(sources: Mapping[str, Callable[..., Source]], **values: Any) -> Source:
    """The one source whose files are given.

    Args:
        sources: Makes each source, by the argument that names its files.
        **values: Files by argument. Empty ones are not given.

    Raises:
        ValueError: If none is given, or several.
    """
    named = [name for name, value in values.items() if value]
    if len(named) != 1:
        wanted = ", ".join(f"{name}=FILE" for name in values)
        raise ValueError(f"{' and '.join(named) or 'Nothing'} is given to label. It must be one of {wanted}.")
    return sources[named[0]](**{named[0]: values[named[0]]})
