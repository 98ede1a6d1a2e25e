"""Reading any input and writing shards.

    file.warc(.gz) ─┐                                       ┌─ Item: bytes or text with url, date, dump
    file.wet.gz     ├─ read_items(path) ─► one at a time ──►┤
    file.jsonl(.gz/.zst), .parquet, .txt, .md, .html,       └─ Fault: what could not be read, with file and
    offset folder of datasets.save_to_disk ─┘

A fault never ends a run: it is counted, reported in `funnel.json`, and reading continues behind it.
"""

from internlm2_data.io.inputs import expand_inputs, read_items
from internlm2_data.io.items import Fault, Item
from internlm2_data.io.shards import ShardReader, ShardWriter

__all__ = ["Fault", "Item", "ShardReader", "ShardWriter", "expand_inputs", "read_items"]
