"""``config.json`` and its companions, for both layouts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from internlm2_core.checkpoint.folder import write_json, write_tensors
from internlm2_core.checkpoint.replacing import new_folder
from internlm2_core.checkpoint.rope_config import rope_of, scaling_of
from internlm2_core.checkpoint.tokenizer_files import ids_of_config, write_tokenizer
from internlm2_core.nn.init import NamedTensors
from internlm2_core.sizes import ModelSize
from internlm2_core.text.tokenizer import SCORE_TOKEN, Tokenizer, load_tokenizer

CONDITIONS_FILE = "conditions.yaml"
"""The condition table beside a reward model's weights. Without it the same weights give other scores."""


def shared_fields(size: ModelSize, dtype: torch.dtype, tokenizer: Tokenizer) -> dict[str, Any]:
    """The fields that have the same name in both layouts.

    Args:
        size: The model's shape.
        dtype: Dtype of the weights.
        tokenizer: Has the ids of special tokens. Those that the embedding lacks are left out: no reader takes them.
    """
    return {key: id_ for key, id_ in ids_of_config(tokenizer).items() if id_ < size.vocab_size} | {
        "hidden_size": size.dim,
        "intermediate_size": size.ffn_dim,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.num_q_heads,
        "num_key_value_heads": size.num_kv_heads,
        "head_dim": size.head_dim,
        "vocab_size": size.vocab_size,
        "max_position_embeddings": size.max_positions,
        "rms_norm_eps": size.norm_eps,
        "rope_theta": size.rope_base,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "tie_word_embeddings": False,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def released_config(
    size: ModelSize, dtype: torch.dtype, tokenizer: Tokenizer, is_reward: bool = False
) -> dict[str, Any]:
    """``config.json`` of the released layout.

    Args:
        size: The model's shape.
        dtype: Dtype of the weights.
        tokenizer: Has the score token, where released reward models read their score.
        is_reward: Whether it is a reward model.
    """
    own = {"reward_token_id": tokenizer.special(SCORE_TOKEN)} if is_reward else {}
    architecture = "InternLM2ForRewardModel" if is_reward else "InternLM2ForCausalLM"
    about = {"architectures": [architecture], "model_type": "internlm2", "bias": False}
    scaling = scaling_of(size)
    if scaling:  # the published code takes these two keys and no other
        scaling = {"type": scaling.pop("rope_type"), **scaling}
    return about | shared_fields(size, dtype, tokenizer) | {"rope_scaling": scaling} | own


def llama_config(size: ModelSize, dtype: torch.dtype, tokenizer: Tokenizer, is_reward: bool = False) -> dict[str, Any]:
    """``config.json`` of the Llama layout, which needs no remote code.

    Args:
        size: The model's shape.
        dtype: Dtype of the weights.
        tokenizer: Has the token for padding. A classifier reads its score at the last token that is another one.
        is_reward: Whether it is a reward model: a sequence classifier with one label, the score.
    """
    own = {"id2label": {"0": "reward"}} if is_reward else {}
    architecture = "LlamaForSequenceClassification" if is_reward else "LlamaForCausalLM"
    biases = {"attention_bias": False, "mlp_bias": False}
    about = {"architectures": [architecture], "model_type": "llama", "rope_scaling": scaling_of(size)}
    return about | biases | shared_fields(size, dtype, tokenizer) | own


def size_of(config: dict[str, Any], source: Path) -> ModelSize:
    """The shape that a ``config.json`` of either layout describes.

    Args:
        config: What the file holds.
        source: The file, for errors.

    Raises:
        ValueError: If a field is missing, heads do not divide, the activation is not InternLM2's, or RoPE is scaled in
            a way that is not known here.
    """
    try:
        heads = config["num_attention_heads"]
        kv_heads = config.get("num_key_value_heads") or heads
        if heads % kv_heads:
            raise ValueError(f"{source}: num_attention_heads={heads} must be a multiple of {kv_heads} key/value heads.")
        if (activation := config.get("hidden_act", "silu")) != "silu":
            raise ValueError(f"{source}: hidden_act={activation!r} must be 'silu', as InternLM2 has it.")
        if config.get("quantization_config"):
            method = config["quantization_config"].get("quant_method", "unknown")
            raise ValueError(f"{source}: quantization_config is {method!r}, and weights must not be quantised.")
        return ModelSize(
            layers=config["num_hidden_layers"],
            dim=config["hidden_size"],
            num_kv_heads=kv_heads,
            q_per_kv=heads // kv_heads,
            ffn_dim=config["intermediate_size"],
            vocab_size=config["vocab_size"],
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            max_positions=config["max_position_embeddings"],
            norm_eps=config["rms_norm_eps"],
            **rope_of(config, source),
        )
    except KeyError as error:
        raise ValueError(f"{source} lacks the field {error} that InternLM2 and Llama have.") from error


def write_model(
    folder: str | Path,
    tensors: NamedTensors,
    make_config: Callable[[torch.dtype, Tokenizer], dict[str, Any]],
    tokenizer_path: str | Path,
    shard_bytes: int = 5 * 2**30,
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Write tensors, config and tokenizer as one folder, atomically. An older model is replaced.

    Args:
        folder: Its place, see `new_folder`.
        tensors: Names and full tensors, as they are written.
        make_config: Gives ``config.json`` for the dtype of the tensors and the tokenizer.
        tokenizer_path: File or model folder whose tokenizer goes along.
        shard_bytes: Size of the largest file.
        beside: Writes more files into the folder.
    """
    tokenizer = load_tokenizer(tokenizer_path)
    with new_folder(folder) as draft:
        dtype = write_tensors(draft, tensors, shard_bytes)
        write_json(draft / "config.json", make_config(dtype, tokenizer))
        write_tokenizer(draft, tokenizer)
        if beside is not None:
            beside(draft)
