"""InternLM2 is LLaMA with fused rows: split them, and Transformers' Llama must say the same."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from internlm2_core import LanguageModel, ModelSize
from internlm2_core.checkpoint.configs import llama_config
from internlm2_core.checkpoint.llama import from_llama, to_llama
from internlm2_core.nn.rope import Rope
from internlm2_core.text import ByteTokenizer
from transformers import LlamaConfig, LlamaForCausalLM

HEADS = [(1, 1), (1, 4), (2, 1), (2, 3), (4, 2)]


def pair(num_kv_heads: int, q_per_kv: int) -> tuple[LanguageModel, LlamaForCausalLM]:
    size = ModelSize(
        2,
        num_kv_heads * q_per_kv * 8,
        num_kv_heads,
        q_per_kv,
        48,
        vocab_size=200,
        head_dim=8,
        max_positions=64,
        rope_base=10_000,
    )
    ours = LanguageModel(size)
    ours.init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in ours.parameters():
            weight *= 4
    theirs = LlamaForCausalLM(LlamaConfig(**llama_config(size, torch.float32, ByteTokenizer())))
    theirs.load_state_dict(dict(to_llama(ours.state_dict().items(), size)))
    return ours, theirs


@pytest.mark.parametrize(("num_kv_heads", "q_per_kv"), HEADS)
def test_logits_and_gradients_equal_llama(num_kv_heads: int, q_per_kv: int) -> None:
    ours, theirs = pair(num_kv_heads, q_per_kv)
    ids = torch.randint(0, 200, (2, 17), generator=torch.Generator().manual_seed(2))
    logits, expected = ours(ids), theirs(ids).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    for out in (logits, expected):
        F.cross_entropy(out[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    gradients = {name: weight.grad for name, weight in theirs.named_parameters()}
    for name, gradient in from_llama(gradients.items(), ours.size):
        torch.testing.assert_close(ours.get_parameter(name).grad, gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("scaling", "theirs"), [("linear", "linear"), ("dynamic", "dynamic")])
def test_rope_scaling_equals_transformers(scaling: str, theirs: str) -> None:
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    size = ModelSize(
        layers=1, dim=32, num_kv_heads=4, q_per_kv=1, ffn_dim=8, head_dim=8, rope_base=10_000, max_positions=16,
        rope_scaling=scaling, rope_factor=2.0,
    )  # fmt: skip
    rope = Rope(size)
    parameters = {"rope_type": theirs, "factor": 2.0, "rope_theta": 10_000.0}
    config = LlamaConfig(hidden_size=32, num_attention_heads=4, max_position_embeddings=16, rope_parameters=parameters)
    positions = torch.arange(40)[None]
    cos, sin = rope(positions, torch.full((1, 1), 40))
    expected_cos, expected_sin = LlamaRotaryEmbedding(config)(torch.zeros(1), positions)
    sign = torch.tensor([-1.0] * 4 + [1.0] * 4)
    torch.testing.assert_close(cos[0, :, 0], expected_cos[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sin[0, :, 0], sign * expected_sin[0], atol=1e-5, rtol=1e-5)


def test_greedy_text_equals_transformers_after_conversion(tmp_path: Path) -> None:
    from internlm2_core.generation import LocalEngine, Sampling

    ours, theirs = pair(2, 3)
    prompts = [[5, 6, 7, 8], [9], [3, 1, 4, 1, 5, 9, 2, 6]]
    answers = LocalEngine(ours).generate(prompts, Sampling(max_new_tokens=12, temperature=0))
    for prompt, answer in zip(prompts, answers, strict=True):
        expected = theirs.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=None)
        assert answer.ids == expected[0, len(prompt) :].tolist()
