"""What the benchmarks of core share: two shapes, peers with the same weights, and runs that take turns."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from typing import Any

import torch
from internlm2_core.checkpoint.llama import to_llama
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import ModelSize

SHAPES = {
    "small": (
        ModelSize(layers=4, dim=256, num_kv_heads=4, q_per_kv=2, head_dim=32, ffn_dim=688, vocab_size=4096),
        4,
        512,
    ),
    "large": (
        ModelSize(layers=8, dim=512, num_kv_heads=4, q_per_kv=2, head_dim=64, ffn_dim=1376, vocab_size=8192),
        1,
        1024,
    ),
}
"""Shape of the model, rows and tokens of a batch."""


def ours(size: ModelSize) -> LanguageModel:
    """A network with seeded random weights."""
    net = LanguageModel(size)
    net.init_weights(torch.Generator().manual_seed(1))
    return net


def transformers_llama(net: LanguageModel) -> Any:
    """Transformers' Llama with the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    size = net.size
    config = LlamaConfig(
        hidden_size=size.dim, intermediate_size=size.ffn_dim, num_hidden_layers=size.layers, head_dim=size.head_dim,
        num_attention_heads=size.num_q_heads, num_key_value_heads=size.num_kv_heads, vocab_size=size.vocab_size,
        max_position_embeddings=size.max_positions, rope_theta=size.rope_base, rms_norm_eps=size.norm_eps,
        tie_word_embeddings=False, attn_implementation="sdpa", pad_token_id=0, bos_token_id=1, eos_token_id=None,
    )  # fmt: skip
    peer = LlamaForCausalLM(config)
    peer.load_state_dict({name: tensor.clone() for name, tensor in to_llama(net.state_dict().items(), size)})
    return peer


def litgpt_gpt(size: ModelSize) -> Any:
    """litgpt's GPT in Llama's shape, weights of its own."""
    from litgpt import GPT, Config

    config = Config(
        block_size=size.max_positions, n_layer=size.layers, n_embd=size.dim, n_head=size.num_q_heads,
        n_query_groups=size.num_kv_heads, head_size=size.head_dim, intermediate_size=size.ffn_dim,
        padded_vocab_size=size.vocab_size, vocab_size=size.vocab_size, rotary_percentage=1.0, bias=False,
        parallel_residual=False, norm_class_name="RMSNorm", norm_eps=size.norm_eps, mlp_class_name="LLaMAMLP",
        rope_base=int(size.rope_base),
    )  # fmt: skip
    return GPT(config)


def sgemm_gflops(n: int = 1024, times: int = 6) -> float:
    """Speed of an fp32 matrix product, in GFLOP per CPU second."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    a @ b
    start = time.process_time()
    for _ in range(times):
        a @ b
    return 2e-9 * n**3 * times / (time.process_time() - start)


def take_turns(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each case in each round; a case runs once a round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, case in cases.items():
            start = time.process_time()
            case()
            if turn:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(slower: list[float], faster: list[float]) -> dict[str, float]:
    """How many times as fast the second is: the median of the rounds' ratios, and between what half of them lie."""
    low, middle, high = statistics.quantiles((a / b for a, b in zip(slower, faster, strict=True)), n=4)
    return {"median": round(middle, 3), "from": round(low, 3), "to": round(high, 3)}


def show(figures: dict[str, Any], *libraries: str) -> None:
    """Print figures as one JSON object, with what they were measured on."""
    made_with = {name: version(name) for name in ("torch", *libraries)}
    threads = f"{platform.machine()}, {torch.get_num_threads()} thread(s)"
    print(json.dumps({"date": date.today().isoformat(), "machine": threads, **made_with, **figures}, indent=2))
