"""From web pages, books and code to packed training tokens."""

__version__ = "0.1.0"
