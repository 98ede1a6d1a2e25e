"""Steps whose loss stands out are left out; weights come back when it stays high."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize, SpikeGuard
from internlm2_core.optim import Constant


def guard(**settings: int) -> SpikeGuard:
    return SpikeGuard(**({"threshold": 6.0, "window": 16, "least": 4, "patience": 2} | settings))


def optimizer_of(weight: torch.nn.Parameter) -> torch.optim.Optimizer:
    return torch.optim.AdamW([weight], lr=0.1)


def step(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
    weight.grad = torch.ones_like(weight)
    optimizer.step()


def test_only_what_stands_out_is_a_spike() -> None:
    spikes = guard()
    optimizer = optimizer_of(torch.nn.Parameter(torch.zeros(2)))
    # Median 3, median deviation 0.1: the limit is 3 + 6 * 0.14826.
    assert all(spikes.accepts(loss, optimizer) for loss in (3.1, 2.9, 3.0, 3.1, 2.9))
    assert [spikes.is_spike(loss) for loss in (3.88, 3.90, 1.0, math.nan, math.inf)] == [False, True, False, True, True]


def test_nothing_but_broken_losses_is_judged_early() -> None:
    spikes = guard()
    optimizer = optimizer_of(torch.nn.Parameter(torch.zeros(2)))
    assert spikes.accepts(3.0, optimizer)
    assert spikes.accepts(300.0, optimizer)
    assert not spikes.accepts(math.nan, optimizer)
    assert (spikes.accepted, spikes.skipped) == (2, 1)


def test_weights_and_moments_come_back_after_lasting_spikes() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer, spikes = optimizer_of(weight), guard(snapshot_every=4)
    for _ in range(4):
        assert spikes.accepts(2.0, optimizer)
        before = [weight.detach().clone(), *(x.clone() for x in optimizer.state[weight].values())]
        step(weight, optimizer)
    for _ in range(2):
        assert spikes.accepts(2.0, optimizer)
        step(weight, optimizer)
    assert not spikes.accepts(9.0, optimizer)
    assert not torch.equal(weight, before[0])
    assert not spikes.accepts(9.0, optimizer)
    after = [weight.detach(), *optimizer.state[weight].values()]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    # The same again: it is not the weights. The data have another level.
    assert not spikes.accepts(9.0, optimizer)
    assert not spikes.accepts(9.1, optimizer)
    assert all(spikes.accepts(loss, optimizer) for loss in (9.0, 9.1, 9.0, 9.0, 8.9))
    # Another level within a window is none: weights come back once more, and then the run ends.
    for loss in (99.0, 98.0, 97.0):
        assert not spikes.accepts(loss, optimizer)
    with pytest.raises(RuntimeError, match=r"2 losses in a row stood out \(the last 96.000, before them 9.0"):
        spikes.accepts(96.0, optimizer)


def test_a_level_that_persists_is_the_new_one_without_snapshots_too(caplog: pytest.LogCaptureFixture) -> None:
    spikes, optimizer = guard(), optimizer_of(torch.nn.Parameter(torch.zeros(2)))
    taken = [spikes.accepts(loss, optimizer) for loss in [2.0] * 20 + [5.0, 5.1] + [5.0] * 20]
    assert taken == [True] * 20 + [False] * 2 + [True] * 20 and spikes.skipped == 2
    assert "5.050 is the new level, after 2.000" in caplog.text
    # After a whole window of it there may be another.
    assert [spikes.accepts(loss, optimizer) for loss in (8.0, 8.0, 8.0)] == [False, False, True]


def test_a_phase_begins_without_a_memory() -> None:
    spikes, optimizer = guard(), optimizer_of(torch.nn.Parameter(torch.zeros(2)))
    for loss in (3.0, 3.1, 2.9, 3.0):
        spikes.accepts(loss, optimizer)
    assert spikes.is_spike(9.0)
    spikes.begin_phase()
    assert not spikes.is_spike(9.0) and spikes.is_spike(math.nan)
    assert spikes.accepted == 4  # counts of the run continue


def test_without_snapshots_a_lasting_spike_ends_the_run() -> None:
    spikes = guard()
    optimizer = optimizer_of(torch.nn.Parameter(torch.zeros(3)))
    assert not spikes.accepts(math.nan, optimizer)
    with pytest.raises(RuntimeError, match=r"lower learning rate, or raise threshold=6\.0"):
        spikes.accepts(math.nan, optimizer)


def test_memory_survives_a_restart() -> None:
    spikes, again = guard(), guard()
    optimizer = optimizer_of(torch.nn.Parameter(torch.zeros(3)))
    for loss in (3.1, 2.9, 3.0, 9.0, 3.1):
        spikes.accepts(loss, optimizer)
    again.load_state_dict(spikes.state_dict())
    assert again.state_dict() == spikes.state_dict()
    assert again.is_spike(9.0)


def test_a_spoilt_batch_leaves_no_trace_in_training(train: Any, batches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    good = batches(7)
    spoilt = {**good[0], "input_ids": torch.zeros_like(good[0]["input_ids"])}
    losses_of = LM.losses

    def broken(module: LM, batch: Any) -> Any:
        cross_entropy, z_squared = losses_of(module, batch)
        return (cross_entropy if batch["input_ids"].any() else cross_entropy * math.nan), z_squared

    monkeypatch.setattr(LM, "losses", broken)
    steps = [*good[1:4], spoilt, *good[4:7]]
    losses, module = train(steps=6, data=steps, spikes=guard())
    _, clean = train(steps=6, data=good[1:7])
    assert sum(math.isnan(loss) for loss in losses) == 1
    torch.testing.assert_close(module.net.state_dict(), clean.net.state_dict())


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"threshold=0 must be above 0"):
        SpikeGuard(threshold=0)


def test_the_guard_is_saved_with_the_module(tiny: ModelSize) -> None:
    module = LM(lambda: LanguageModel(tiny), partial(torch.optim.AdamW, lr=1e-3), Constant(), spikes=guard())
    module.configure_model()
    module.spikes.losses.extend([1.0, 2.0])
    checkpoint: dict = {}
    module.on_save_checkpoint(checkpoint)
    other = LM(lambda: LanguageModel(tiny), partial(torch.optim.AdamW, lr=1e-3), Constant(), spikes=guard())
    other.on_load_checkpoint(checkpoint)
    assert list(other.spikes.losses) == [1.0, 2.0]
