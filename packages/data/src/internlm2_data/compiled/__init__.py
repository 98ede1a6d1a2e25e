"""Loops over bytes, compiled by numba at their first use and cached beside these files.

Texts arrive as UTF-8. A kernel does what Python would do character by character, a hundred times as fast. There is
no second implementation to fall back on.
"""
