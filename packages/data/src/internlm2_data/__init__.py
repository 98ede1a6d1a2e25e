"""From web pages, books and code to packed training tokens.

The LightningDataModules need torch and are imported when they are asked for. The pipelines work without it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internlm2_data.loading import BatchData, ChatBatches, ChatData, PackedBatches, PretrainData

__version__ = "0.1.0"
__all__ = ["BatchData", "ChatBatches", "ChatData", "PackedBatches", "PretrainData"]


def __getattr__(name: str) -> Any:
    """The loaders."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from internlm2_data import loading

    return getattr(loading, name)
