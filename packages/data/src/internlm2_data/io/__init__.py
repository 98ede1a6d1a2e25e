"""Reading any input and writing shards.

    file.warc(.gz) ─┐                                       ┌─ Item: bytes or text with url, date, dump
    file.wet.gz     ├─ read_items(path) ─► one at a time ──►┤
    file.jsonl, .csv, .parquet, .txt, .md, .html,           ├─ Fault: what could not be read, with file and offset
    folder of datasets.save_to_disk ────────┘               └─ Passed: anything else, with a reason

Neither a fault nor what is passed over ends a run. Both are counted and reported in `funnel.json`: whatever came in is
a document, a fault or a reason.
"""

from internlm2_data.io.inputs import expand_inputs, read_items
from internlm2_data.io.items import Fault, Item, Passed
from internlm2_data.io.shards import ShardReader, ShardWriter

__all__ = ["Fault", "Item", "Passed", "ShardReader", "ShardWriter", "expand_inputs", "read_items"]
