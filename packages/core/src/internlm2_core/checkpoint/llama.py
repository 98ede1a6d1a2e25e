"""Llama's layout: the same weights with ``wqkv`` split and other names (InternLM2 is LLaMA with fused rows)."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from internlm2_core.checkpoint.configs import llama_config, size_of, write_model
from internlm2_core.checkpoint.folder import allocated, dtype_of, fill_or_defer, read_json, read_tensors, tensor_files
from internlm2_core.nn.init import NamedTensors
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.split import join_wqkv, split_wqkv
from internlm2_core.sizes import ModelSize

NAMES = {
    "tok_embeddings": "embed_tokens",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
"""Parts of names, released to Llama."""

HEADS = {"output.weight": "lm_head.weight", "v_head.weight": "score.weight"}
"""Names of heads, released to Llama."""

PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def to_llama(tensors: NamedTensors, size: ModelSize) -> Iterator[tuple[str, Tensor]]:
    """Released names and tensors as Llama's.

    Args:
        tensors: Names and tensors in released layout.
        size: The model's shape.
    """
    for name, tensor in tensors:
        if name.endswith("attention.wqkv.weight"):
            prefix = name.removesuffix("attention.wqkv.weight") + "self_attn."
            for part, matrix in zip(PROJECTIONS, split_wqkv(tensor, size.q_per_kv, size.head_dim), strict=True):
                yield f"{prefix}{part}.weight", matrix
        else:
            yield renamed(name, HEADS, NAMES), tensor


def released_name(name: str) -> str:
    """The released name of a Llama tensor that needs no change."""
    return renamed(name, inverse(HEADS), inverse(NAMES))


def inverse(names: Mapping[str, str]) -> dict[str, str]:
    """Keys and values exchanged."""
    return {theirs: ours for ours, theirs in names.items()}


def renamed(name: str, heads: Mapping[str, str], parts: Mapping[str, str]) -> str:
    """A name of the other layout. Names without a replacement are the same in both.

    Args:
        name: The name.
        heads: Replacements of whole names.
        parts: Replacements of one part of a name.
    """
    if name in heads:
        return heads[name]
    for old, new in parts.items():
        if f".{old}." in name:
            return name.replace(f".{old}.", f".{new}.")
    return name


def from_llama(tensors: NamedTensors, size: ModelSize) -> Iterator[tuple[str, Tensor]]:
    """Llama's names and tensors as released ones. The three projections of a block wait for each other.

    Args:
        tensors: Names and tensors in Llama's layout.
        size: The model's shape.

    Raises:
        ValueError: If a block lacks a projection.
    """
    waiting: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors:
        part = name.split(".")[-2]
        if part in PROJECTIONS and name.endswith(".weight"):
            prefix = name.split("self_attn.")[0]
            block = waiting.setdefault(prefix, {})
            block[part] = tensor
            if len(block) == len(PROJECTIONS):
                q, k, v = (block[name] for name in PROJECTIONS)
                yield f"{prefix}attention.wqkv.weight", join_wqkv(q, k, v, size.q_per_kv, size.head_dim)
                del waiting[prefix]
        else:
            yield released_name(name), tensor
    if waiting:
        prefix, block = next(iter(waiting.items()))
        lacking = next(part for part in PROJECTIONS if part not in block)
        raise ValueError(f"The checkpoint lacks {prefix}self_attn.{lacking}.weight.")


def save_llama(
    folder: str | Path,
    size: ModelSize,
    tensors: NamedTensors,
    tokenizer_path: str | Path,
    is_reward: bool = False,
    shard_bytes: int = 5 * 2**30,
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Write released tensors as a folder that Transformers loads without remote code.

    Args:
        folder: The new folder. An older model is replaced, see `internlm2_core.checkpoint.replacing`.
        size: The model's shape.
        tensors: Names and tensors in released layout.
        tokenizer_path: File or model folder whose tokenizer goes along.
        is_reward: Whether it is a reward model. ``AutoModelForSequenceClassification`` reads it with one label,
            ``AutoModelForCausalLM`` reads the others.
        shard_bytes: Size of the largest file.
        beside: Writes more files into the folder.
    """
    config = partial(llama_config, size, is_reward=is_reward)
    write_model(folder, to_llama(tensors, size), config, tokenizer_path, shard_bytes, beside)


def has_tied_head(folder: Path) -> bool:
    """Whether a language model in Llama's layout has no head but its embedding."""
    is_tied = read_json(folder / "config.json").get("tie_word_embeddings", False)
    return bool(is_tied) and not HEADS.values() & tensor_files(folder).keys()


def read_llama(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a folder in Llama's layout under released names.

    A tied head becomes a copy of the embedding: InternLM2 has a head of its own.
    """
    file = folder / "config.json"
    is_tied = has_tied_head(folder)
    for name, tensor in from_llama(read_tensors(folder), size_of(read_json(file), file)):
        yield name, tensor
        if is_tied and name == "model.tok_embeddings.weight":
            yield "output.weight", tensor.clone()


def load_llama(
    folder: str | Path,
    attend: nn.Module | None = None,
    positions: ModelSize | None = None,
    dtype: torch.dtype | None = None,
) -> LanguageModel:
    """A language model from a folder in Llama's layout. A tied head becomes a copy of the embedding.

    Args:
        folder: The model folder.
        attend: Attention back end. None takes the fastest on this machine.
        positions: Take RoPE and trained length from this size instead of the config, as a new phase does.
        dtype: Dtype of the weights. None takes that of the files.

    Raises:
        ValueError: If the tensors do not fit.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    size = size_of(config, folder / "config.json")
    if positions:
        size = size.at_positions_of(positions)
    with torch.device("meta"):
        net = LanguageModel(size, attend).to(dtype or dtype_of(folder, config))
    fill_or_defer(allocated(net), partial(read_llama, folder), folder)
    return net
