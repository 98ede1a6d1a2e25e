"""The actor's weights in vLLM, against a fake of vLLM's boundary that answers with the weights of its folder.

`test_with_vllm.py` runs vLLM itself.
"""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from internlm2_align.roles.on_vllm import VLLMActor
from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.training.hyperparameters import describe, rebuild

CALLS = []


class FakeLLM:
    """Keeps the weights that it has read, and what it has computed of them for each prompt until it is told to forget."""

    def __init__(self, model, **options):
        CALLS.append(options)
        self.folder, self.known = model, {}
        self.reload_weights()

    def reload_weights(self):
        self.net = load_model(self.folder)

    def collective_rpc(self, method):
        getattr(self, method)()

    def reset_prefix_cache(self):
        self.known.clear()

    def generate(self, prompts, params, use_tqdm):
        return [
            self.known.setdefault(str(prompt), self.answer(prompt["prompt_token_ids"], params)) for prompt in prompts
        ]

    def answer(self, ids, params):
        [found] = LocalEngine(self.net).generate([ids], Sampling(max_new_tokens=params["max_tokens"], temperature=0))
        logprobs = [{id_: SimpleNamespace(logprob=value)} for id_, value in zip(found.ids, found.logprobs, strict=True)]
        output = SimpleNamespace(token_ids=found.ids, logprobs=logprobs, finish_reason="length")
        return SimpleNamespace(outputs=[output])


@pytest.fixture
def fake(monkeypatch):
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = FakeLLM, dict
    monkeypatch.setitem(sys.modules, "vllm", module)
    CALLS.clear()


def test_each_sampling_is_with_the_present_weights(fake, language_model, tmp_path, tokenizer_file):
    engine = VLLMActor(tmp_path / "engine", tokenizer_file, gpu_memory_utilization=0.4)
    sampling, prompts, seen = Sampling(max_new_tokens=6, temperature=0), [[7, 8, 9], [20, 21]], []
    for scale in (1.0, -1.0):
        with torch.no_grad():
            language_model.output.weight.mul_(scale)
        expected = LocalEngine(language_model).generate(prompts, sampling)
        found = engine(language_model).generate(prompts, sampling)
        assert [each.ids for each in found] == [each.ids for each in expected]
        assert found[0].logprobs == pytest.approx(expected[0].logprobs, abs=1e-5)
        seen.append(found[0].ids)
    assert seen[0] != seen[1] and [call["gpu_memory_utilization"] for call in CALLS] == [0.4]  # started once
    again = rebuild(describe(engine))  # as a checkpoint holds it
    assert again.engine is None and again.arguments() == engine.arguments()
