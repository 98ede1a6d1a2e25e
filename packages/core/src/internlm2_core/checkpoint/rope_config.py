"""RoPE in ``config.json``: the five kinds of scaling that Transformers writes and this network computes.

=========  ========================================================  ==========================================
kind       keys beside ``factor``                                    computed as in
=========  ========================================================  ==========================================
default                                                              RoFormer, arXiv 2104.09864
linear                                                               position interpolation, arXiv 2306.15595
dynamic                                                              dynamic NTK, report section 3.3
llama3     ``low_freq_factor``, ``high_freq_factor``,                Llama 3.1's model card
           ``original_max_position_embeddings``
yarn       ``beta_fast``, ``beta_slow``, ``attention_factor``,       YaRN, arXiv 2309.00071
           ``original_max_position_embeddings``
=========  ========================================================  ==========================================
"""

from pathlib import Path
from typing import Any, get_args

from internlm2_core.sizes import ModelSize, RopeScaling, yarn_attention

KEYS = {
    "llama3": {"low_freq_factor": "rope_slow", "high_freq_factor": "rope_fast"},
    "yarn": {"beta_slow": "rope_slow", "beta_fast": "rope_fast", "attention_factor": "rope_attention"},
}
"""Keys of ``rope_scaling`` and the fields of `ModelSize`, by kind."""

ORIGINAL = "original_max_position_embeddings"


def rope_of(config: dict[str, Any], source: Path) -> dict[str, Any]:
    """Fields of `ModelSize` for the positions that a ``config.json`` of either layout describes.

    Args:
        config: What the file holds.
        source: The file, for errors.

    Raises:
        KeyError: If a key is missing.
        ValueError: If a kind or a key is not known. Other positions than the trained ones would be wrong in silence.
    """
    rope: dict[str, Any] = {**(config.get("rope_parameters") or {}), **(config.get("rope_scaling") or {})}
    kind: Any = rope.get("rope_type") or rope.get("type") or "default"
    scaling = "none" if kind == "default" else kind
    known = {"rope_type", "type", "factor", "rope_theta", ORIGINAL, *KEYS.get(kind, ())}
    if scaling not in get_args(RopeScaling):
        raise ValueError(f"{source}: RoPE scaling {kind!r} must be one of {', '.join(get_args(RopeScaling)[1:])}.")
    if config.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise ValueError(f"{source}: partial_rotary_factor={config['partial_rotary_factor']} must be 1.")
    neutral = (("partial_rotary_factor", 1), *((key, None) for key in rope))
    if unknown := {key: value for key, value in rope.items() if key not in known and (key, value) not in neutral}:
        raise ValueError(f"{source}: RoPE scaling {kind!r} has keys that are not known here: {unknown}.")
    fields: dict[str, Any] = {
        "rope_base": float(config.get("rope_theta") or rope["rope_theta"]),
        "rope_scaling": scaling,
    }
    if scaling == "none":
        return fields
    fields["rope_factor"] = float(rope["factor"])
    if scaling == "yarn":
        fields |= {"rope_slow": 1.0, "rope_fast": 32.0, "rope_attention": yarn_attention(fields["rope_factor"])}
    fields |= {ours: float(rope[key]) for key, ours in KEYS.get(kind, {}).items() if rope.get(key) is not None}
    if scaling in KEYS:
        fields["rope_original_positions"] = int(rope.get(ORIGINAL) or config["max_position_embeddings"])
    elif ORIGINAL in rope and rope[ORIGINAL] not in (None, config["max_position_embeddings"]):
        raise ValueError(f"{source}: {ORIGINAL}={rope[ORIGINAL]} of RoPE scaling {kind!r} must be that of the model.")
    return fields


def scaling_of(size: ModelSize) -> dict[str, Any] | None:
    """``rope_scaling`` as Transformers reads it. None where nothing is scaled."""
    if size.rope_scaling == "none":
        return None
    more = {key: getattr(size, ours) for key, ours in KEYS.get(size.rope_scaling, {}).items()}
    if more:
        more[ORIGINAL] = size.rope_original_positions
    return {"rope_type": size.rope_scaling, "factor": size.rope_factor, **more}
