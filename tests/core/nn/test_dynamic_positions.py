"""Dynamic RoPE scales each document and each row by its own length, as Transformers does for one document at a time."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from internlm2_core import LanguageModel, LocalEngine, ModelSize, Sampling
from internlm2_core.checkpoint.configs import llama_config
from internlm2_core.checkpoint.llama import to_llama
from internlm2_core.evaluation import Scored, Subject
from internlm2_core.text import ByteTokenizer
from transformers import LlamaConfig, LlamaForCausalLM

SIZE = ModelSize(2, 32, 2, 2, 48, vocab_size=100, head_dim=8, max_positions=16, rope_scaling="dynamic", rope_factor=2.0)
LENGTHS = (14, 50, 3, 29)
"""The model was trained for 16."""


@pytest.fixture
def ours() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(0), std=0.3)
    return net.eval()


@pytest.fixture
def theirs(ours: LanguageModel) -> Callable[[], LlamaForCausalLM]:
    """Makes Transformers' model anew, since it remembers the longest document that it has seen."""
    net = LlamaForCausalLM(LlamaConfig(**llama_config(SIZE, torch.float32, ByteTokenizer())))
    net.load_state_dict(dict(to_llama(ours.state_dict().items(), SIZE)))
    return lambda: deepcopy(net).eval()


@pytest.fixture
def documents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 100, (length,), generator=generator) for length in LENGTHS]


@torch.no_grad()
def test_packed_documents(ours: LanguageModel, theirs: Callable[[], LlamaForCausalLM], documents: list) -> None:
    expected = [theirs()(ids[None]).logits[0] for ids in documents]
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    packed = ours(torch.cat(documents).view(2, -1), positions.view(2, -1)).flatten(0, 1)
    # The first 48 tokens are a row of their own: the second document is cut there.
    torch.testing.assert_close(packed[:14], expected[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed[-32:], torch.cat(expected[2:]), atol=1e-4, rtol=1e-4)
    packed = ours(torch.cat(documents)[None], positions[None])[0]
    torch.testing.assert_close(packed, torch.cat(expected), atol=1e-4, rtol=1e-4)


def test_prompts_answered_together(
    ours: LanguageModel, theirs: Callable[[], LlamaForCausalLM], documents: list[torch.Tensor]
) -> None:
    """Answers outgrow the trained length on the way."""
    prompts = [ids.tolist() for ids in documents]
    greedy = Sampling(max_new_tokens=16, temperature=0)
    for prefill_tokens in (8_192, 8):
        answers = LocalEngine(ours, prefill_tokens=prefill_tokens).generate(prompts, greedy)
        for ids, answer in zip(documents, answers, strict=True):
            whole = theirs().generate(ids[None], max_new_tokens=16, do_sample=False, eos_token_id=None)
            assert answer.ids == whole[0, len(ids) :].tolist()


def test_first_logprobs_equal_a_fresh_pass(ours: LanguageModel, documents: list[torch.Tensor]) -> None:
    """Later ones follow keys that were stored with the base of a shorter text, as in Transformers."""
    prompts = [ids.tolist() for ids in documents]
    answers = LocalEngine(ours).generate(prompts, Sampling(max_new_tokens=2, temperature=0))
    for prompt, answer in zip(prompts, answers, strict=True):
        fresh = ours(torch.tensor([prompt]))[0, -1].log_softmax(-1)
        assert answer.logprobs[0] == pytest.approx(fresh[answer.ids[0]].item(), abs=1e-5)


def test_documents_scored_together(ours: LanguageModel, documents: list[torch.Tensor]) -> None:
    scored = [Scored(ids.tolist(), [True] * len(ids)) for ids in documents]
    subject = Subject(ours, ByteTokenizer(), LocalEngine(ours))
    alone = [subject.document_losses([document])[0].nats for document in scored]
    assert [loss.nats for loss in subject.document_losses(scored)] == pytest.approx(alone, rel=1e-5)
