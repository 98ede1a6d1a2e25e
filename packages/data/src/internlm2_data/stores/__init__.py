"""Files of remote stores (``s3://``, ``gs://``, ``hf://``, ...), through fsspec.

Each store needs its own package, such as s3fs.

    inputs          one by one: a file is on this machine while it is worked on (`here`)
    tokens          by ranges, through a bounded cache of blocks (`BlockCache`)
    small files     copied into the user's cache (`local`)
    outputs         shard by shard, as they are finished (`internlm2_data.stores.outputs`)

What fails is tried again, and then ends in a `StoreError`.
"""

from internlm2_data.stores.asking import StoreError
from internlm2_data.stores.blocks import BlockCache
from internlm2_data.stores.files import InputFile, StoreFile, here, is_file, is_remote, local, size_of, store_file
from internlm2_data.stores.listing import files_below, files_in, matches_of, names_in

__all__ = [
    "BlockCache",
    "InputFile",
    "StoreError",
    "StoreFile",
    "files_below",
    "files_in",
    "here",
    "is_file",
    "is_remote",
    "local",
    "matches_of",
    "names_in",
    "size_of",
    "store_file",
]
