"""The toy. Nothing here ever touches a real corpus.

The text of this wing is written by rule (`written`) or taken from the machine itself (`machine`), so that the whole
recipe can be tried on two CPU cores without downloading anything. The sizes are in ``conf/pipeline``.
"""
