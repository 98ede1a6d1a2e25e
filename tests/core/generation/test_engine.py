from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from internlm2_core import LanguageModel
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.generation.sampling import candidates, choose, draw, penalise_repeats

PROMPTS = [[5, 6, 7], [9], [3, 1, 4, 1, 5, 9, 2, 6]]


def test_logprobs_equal_a_fresh_forward_pass(net: LanguageModel) -> None:
    completions = LocalEngine(net).generate(
        PROMPTS, Sampling(max_new_tokens=9, temperature=0.7, top_p=0.9, seed=1, stop_ids=(7,))
    )
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        logits = net(torch.tensor([prompt + completion.ids]))[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("limits", [{"max_batch_tokens": 20}, {"prefill_tokens": 3}, {"prefill_tokens": 1}])
def test_batching_and_chunked_prefill_change_nothing(net: LanguageModel, limits: dict[str, int]) -> None:
    greedy = Sampling(max_new_tokens=8, temperature=0)
    alone = [LocalEngine(net).generate([prompt], greedy)[0].ids for prompt in PROMPTS]
    assert [completion.ids for completion in LocalEngine(net, **limits).generate(PROMPTS, greedy)] == alone


def test_chunks_of_a_prompt_are_scaled_as_one(net: LanguageModel) -> None:
    net.set_positions(rope_scaling="dynamic", rope_factor=2.0, max_positions=8)
    prompt = [3, 1, 4, 1, 5, 9, 2, 6] * 3
    [completion] = LocalEngine(net, prefill_tokens=8).generate([prompt], Sampling(max_new_tokens=1, temperature=0))
    best = net(torch.tensor([prompt]))[0, -1].log_softmax(-1).max()
    assert completion.logprobs == pytest.approx([float(best)], abs=1e-5)


def test_each_sequence_stops_by_itself(net: LanguageModel) -> None:
    free = LocalEngine(net).generate(PROMPTS, Sampling(max_new_tokens=8, temperature=0))
    stop = free[0].ids[2]
    stopped = LocalEngine(net).generate(PROMPTS, Sampling(max_new_tokens=8, temperature=0, stop_ids=(stop,)))
    for before, after in zip(free, stopped, strict=True):
        if stop in before.ids:
            assert after.ids == before.ids[: before.ids.index(stop) + 1]
            assert after.finish == "stop"
        else:
            assert (after.ids, after.finish) == (before.ids, "length")


def test_a_stop_string_ends_a_sequence_across_token_borders(net: LanguageModel) -> None:
    def decode(ids: Sequence[int]) -> str:
        return "".join(f"{id_:03d}" for id_ in ids)

    free = LocalEngine(net).generate(PROMPTS, Sampling(max_new_tokens=8, temperature=0))
    # The end of one token and the beginning of the next.
    stop = decode(free[0].ids[2:4])[1:5]
    sampling = Sampling(max_new_tokens=8, temperature=0, stop=(stop,))
    stopped = LocalEngine(net, decode=decode).generate(PROMPTS, sampling)
    for before, after in zip(free, stopped, strict=True):
        text = decode(before.ids)
        if stop in text:
            tokens = -(-(text.index(stop) + len(stop)) // 3)
            assert (after.ids, after.finish) == (before.ids[:tokens], "stop")
        else:
            assert (after.ids, after.finish) == (before.ids, "length")
    assert stopped[0].finish == "stop"


def test_stop_strings_need_text(net: LanguageModel) -> None:
    with pytest.raises(ValueError, match=r"stop=\['###'\] needs text: LocalEngine must have decode=tokenizer.decode"):
        LocalEngine(net).generate(PROMPTS, Sampling(stop=("###",)))


def test_streaming_gives_every_token_in_order(net: LanguageModel) -> None:
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    sampling = Sampling(max_new_tokens=6, temperature=0)
    completions = LocalEngine(net).generate(PROMPTS, sampling, on_token=lambda index, id_: seen[index].append(id_))
    assert [seen[index] for index in range(3)] == [completion.ids for completion in completions]


def test_a_seed_repeats_itself(net: LanguageModel) -> None:
    sampling = Sampling(max_new_tokens=8, seed=3)
    assert LocalEngine(net).generate(PROMPTS, sampling) == LocalEngine(net).generate(PROMPTS, sampling)
    assert LocalEngine(net).generate(PROMPTS, sampling) != LocalEngine(net).generate(
        PROMPTS, Sampling(max_new_tokens=8, seed=4)
    )


def test_logprobs_only_where_they_are_wanted(net: LanguageModel) -> None:
    with_them = LocalEngine(net).generate(PROMPTS, GREEDY)
    without = LocalEngine(net).generate(PROMPTS, replace(GREEDY, logprobs=False))
    assert [completion.ids for completion in without] == [completion.ids for completion in with_them]
    assert not any(completion.logprobs for completion in without) and all(c.logprobs for c in with_them)


def test_an_empty_prompt_is_refused(net: LanguageModel) -> None:
    with pytest.raises(ValueError, match="Prompt 1 is empty"):
        LocalEngine(net).generate([[1], []], Sampling())


def test_prompts_beyond_the_trained_length_are_refused_to_people(net: LanguageModel) -> None:
    sampling = Sampling(max_new_tokens=60, temperature=0)
    engine = LocalEngine(net, beyond_positions=False)
    with pytest.raises(ValueError, match=r"make 68 tokens but the model was trained for 64. .*rope_scaling='dynamic'"):
        engine.generate(PROMPTS, sampling)
    net.set_positions(rope_scaling="dynamic")
    assert len(engine.generate(PROMPTS, sampling)[2].ids) == 60


def test_truncation_by_hand() -> None:
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    kept = {
        (2, 1.0): {1: 0.625, 3: 0.375},
        (0, 0.6): {1: 0.5, 3: 0.3},
        (0, 0.01): {1: 0.5},
        (0, 0.9): {1: 0.5, 3: 0.3, 0: 0.15},
        (3, 0.6): {1: 0.5 / 0.95, 3: 0.3 / 0.95},
        (0, 1.0): {1: 0.5, 3: 0.3, 0: 0.15, 2: 0.05},
    }
    for (top_k, top_p), expected in kept.items():
        probs, ids = candidates(logits, Sampling(top_k=top_k, top_p=top_p))
        tokens = range(4) if ids is None else ids[0].tolist()
        found = {token: prob for token, prob in zip(tokens, probs[0].tolist(), strict=True) if prob}
        assert found == pytest.approx(expected, abs=1e-6), (top_k, top_p)


def test_draws_follow_the_probabilities() -> None:
    probs = torch.tensor([[0.5, 0.0, 0.3, 0.2, 0.0]]).expand(20_000, -1)
    counts = draw(probs, torch.Generator().manual_seed(1)).flatten().bincount(minlength=5) / 20_000
    torch.testing.assert_close(counts, probs[0], atol=0.015, rtol=0)
    assert counts[1] == counts[4] == 0


GREEDY = Sampling(max_new_tokens=2, temperature=0)


def layouts(net: LanguageModel) -> dict[str, tuple[int, ...]]:
    return {name: weight.stride() for name, weight in net.named_parameters()}


def test_an_engine_lays_weights_out_once(net: LanguageModel) -> None:
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    engine = LocalEngine(net)
    engine.generate(PROMPTS, GREEDY)
    assert net.output.weight.stride() == (1, net.size.vocab_size)
    places = [weight.data_ptr() for weight in net.parameters()]
    engine.generate(PROMPTS, GREEDY)
    assert [weight.data_ptr() for weight in net.parameters()] == places
    assert all(torch.equal(weight, before[name]) for name, weight in net.named_parameters())


def test_half_precision_keeps_its_layout(net: LanguageModel) -> None:
    """Its products with matrices stored column by column are many times slower."""
    before, engine = layouts(net.bfloat16()), LocalEngine(net)
    engine.generate(PROMPTS, GREEDY)
    assert layouts(net) == before


@pytest.mark.parametrize("is_trained", [True, False])
def test_the_layout_of_decoding_leaves_no_trace(net: LanguageModel, is_trained: bool) -> None:
    before, engine = layouts(net), LocalEngine(net)
    engine.generate(PROMPTS, GREEDY)
    copy = deepcopy(net)
    if is_trained:
        net(torch.tensor([[1, 2]]))
    else:
        del engine
    assert layouts(net) == before != layouts(copy)
    copy(torch.tensor([[1, 2]]))
    assert layouts(copy) == before


def test_training_after_generation_equals_training_without(net: LanguageModel) -> None:
    other, found = deepcopy(net), []
    for trained, engine in ((net, LocalEngine(net)), (other, None)):
        optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-2, fused=True)
        for _ in range(2):
            if engine is not None:
                engine.generate(PROMPTS, GREEDY)
            loss = trained(torch.tensor([[1, 2, 3]]), labels_BT=torch.tensor([[2, 3, 4]])).cross_entropy
            loss.backward()
            optimizer.step()
        found.append([weight.detach().contiguous() for weight in trained.parameters()])
    torch.testing.assert_close(*found, atol=0, rtol=0)


def test_repeats_by_hand() -> None:
    logits = torch.tensor([[2.0, -2.0, 3.0]])
    seen = torch.tensor([[True, True, False]])
    assert penalise_repeats(logits, seen, 2.0).tolist() == [[1.0, -4.0, 3.0]]


def test_a_repetition_penalty_forbids_repeating(net: LanguageModel) -> None:
    completion = LocalEngine(net).generate(
        [[5, 6]], Sampling(max_new_tokens=20, temperature=0, repetition_penalty=1e9)
    )[0]
    assert len(set(completion.ids) | {5, 6}) == 22


@pytest.mark.parametrize(
    "bad", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"top_k": -1}, {"max_new_tokens": 0}]
)
def test_values_out_of_range_are_named(bad: dict[str, float]) -> None:
    [(name, value)] = bad.items()
    with pytest.raises(ValueError, match=f"{name}={value} must be"):
        Sampling(**bad)


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {}, {"top_p": 0.5}, {"top_k": 2}])
def test_tokens_that_are_never_chosen(sampling):
    logits = torch.tensor([[5.0, 4.0, 1.0, 0.0, 0.0]]).expand(200, 5)
    never = Sampling(never_ids=(0, 1), **sampling)
    ids, logprobs = choose(logits, never, torch.Generator().manual_seed(1))
    assert not {0, 1} & set(ids.tolist())
    # The log-probability is still that of the model.
    torch.testing.assert_close(logprobs, logits.log_softmax(-1).gather(1, ids[:, None])[:, 0])
