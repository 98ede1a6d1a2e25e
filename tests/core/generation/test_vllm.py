"""The vLLM engine against a fake of vLLM's boundary: what it is asked, and how its answer is read.

vLLM itself is not run here; `test_with_vllm` runs it where it is installed beside a GPU.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from internlm2_core import LanguageModel
from internlm2_core.checkpoint import save_llama, save_released
from internlm2_core.generation import Completion, LocalEngine, Sampling, VLLMEngine
from internlm2_core.generation.vllm import completion_of

from_vllm = pytest.mark.skipif(
    find_spec("vllm") is None or not torch.cuda.is_available(), reason="needs vLLM and a CUDA device"
)


@pytest.fixture
def llama(net: LanguageModel, tmp_path: Path, tokenizer_file: Path) -> Path:
    save_llama(tmp_path / "llama", net.size, net.state_dict().items(), tokenizer_file)
    return tmp_path / "llama"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Puts a fake `vllm` in place, which answers 7, 8 and notes what it was asked."""
    seen: dict[str, Any] = {}

    class FakeLLM:
        def __init__(self, **options: Any) -> None:
            seen["llm"] = options

        def generate(self, prompts: Any, params: Any, use_tqdm: bool) -> list[Any]:
            seen["prompts"] = prompts
            logprobs = [{7: SimpleNamespace(logprob=-0.5)}, {8: SimpleNamespace(logprob=-0.25)}]
            output = SimpleNamespace(token_ids=(7, 8), logprobs=logprobs, finish_reason="stop")
            return [SimpleNamespace(outputs=[output]) for _ in prompts]

    fake = ModuleType("vllm")
    fake.LLM = FakeLLM  # type: ignore[attr-defined]
    fake.SamplingParams = lambda **params: seen.setdefault("params", params)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", fake)
    return seen


def test_prompts_settings_and_answers_are_translated(llama: Path, asked: dict[str, Any]) -> None:
    engine = VLLMEngine(llama, tensor_parallel_size=2)
    sampling = Sampling(max_new_tokens=5, temperature=0.7, top_p=0.9, stop_ids=(8,), stop=("###",), seed=3)
    [first, second] = engine.generate([[1, 2], [3]], sampling)
    assert first == second
    assert (first.ids, first.logprobs, first.finish) == ([7, 8], [-0.5, -0.25], "stop")
    assert asked["llm"]["trust_remote_code"] is False
    assert asked["llm"]["tensor_parallel_size"] == 2
    assert asked["prompts"] == [{"prompt_token_ids": [1, 2]}, {"prompt_token_ids": [3]}]
    wanted = {"max_tokens": 5, "temperature": 0.7, "top_p": 0.9, "top_k": -1, "stop_token_ids": [8], "stop": ["###"]}
    assert asked["params"].items() >= wanted.items()


def test_the_released_layout_is_refused_with_the_way_out(
    net: LanguageModel, tmp_path: Path, tokenizer_file: Path
) -> None:
    save_released(tmp_path / "released", net.size, net.state_dict().items(), tokenizer_file)
    with pytest.raises(ValueError, match=r"internlm2 convert from=.*released to=FOLDER format=llama"):
        VLLMEngine(tmp_path / "released")


def test_an_empty_prompt_is_refused(llama: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Prompt 1 is empty"):
        VLLMEngine(llama).generate([[1], []], Sampling())


@from_vllm
@pytest.mark.gpu
def test_with_vllm(net: LanguageModel, llama: Path) -> None:
    greedy = Sampling(max_new_tokens=8, temperature=0)
    ours = LocalEngine(net.cuda()).generate([[5, 6, 7]], greedy)
    assert VLLMEngine(llama, dtype="float32").generate([[5, 6, 7]], greedy)[0].ids == ours[0].ids


def test_an_answer_without_logprobs_is_read() -> None:
    output = SimpleNamespace(token_ids=(7, 8), logprobs=None, finish_reason="length")
    assert completion_of(output) == Completion([7, 8], [], "length")
