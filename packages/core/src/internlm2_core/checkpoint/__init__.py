"""Model folders: safetensors, config, tokenizer.

=============  ==================================================================================
`released`     InternLM2's own layout: fused ``wqkv``, names of the released checkpoints
`llama`        the same weights in Llama's layout, which Transformers and other libraries load without remote code
`reward`       released layout with ``v_head`` in the place of ``output``
=============  ==================================================================================
"""

from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.checkpoint.llama import load_llama, save_llama
from internlm2_core.checkpoint.released import load_released, read_size, save_released, size_in_phase

__all__ = ["load_llama", "load_model", "load_released", "read_size", "save_llama", "save_released", "size_in_phase"]
