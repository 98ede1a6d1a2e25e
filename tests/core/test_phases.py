"""Phases in one run: what changes at the boundary, and a restart in the middle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize, Phase, Phases, PhaseSwitch, SpikeGuard


@dataclass
class Numbered:
    """Batches that carry their number; a pass is 3 batches, and the next one counts on."""

    first: int
    rows: int
    tokens: int

    def loader(self, dp_rank: int, dp_size: int, num_workers: int) -> "NumberedLoader":
        return NumberedLoader(self)


class NumberedLoader:
    def __init__(self, batches: Numbered) -> None:
        self.batches, self.read = batches, 0

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(3 - self.read % 3):
            self.read += 1
            shape = (self.batches.rows, self.batches.tokens)
            ids = torch.full(shape, self.batches.first + self.read)
            positions = torch.arange(shape[1]).expand(shape)
            yield {"input_ids": ids, "labels": ids, "position_ids": positions}

    def state_dict(self) -> dict[str, Any]:
        return {"read": self.read}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.read = state["read"]


def phases() -> Phases:
    return Phases(
        {
            "short": Phase(5, Numbered(0, rows=4, tokens=4), rope_base=1e3, context=4, peak_lr=1e-2, warmup_steps=2),
            "long": Phase(4, Numbered(20, rows=2, tokens=16), rope_base=1e5, context=16, peak_lr=5e-3),
        }
    )


def numbers(loader: Any, count: int) -> list[int]:
    batches = iter(loader)
    return [int(next(batches)["input_ids"][0, 0]) for _ in range(count)]


def test_phases_follow_each_other() -> None:
    assert numbers(phases().loader(), 9) == [1, 2, 3, 4, 5, 21, 22, 23, 24]


def test_the_last_phase_goes_on_where_more_is_asked_for() -> None:
    loader = phases().loader()
    assert len(list(loader)) == len(loader) == 9
    assert numbers(loader, 2) == [25, 26]


@pytest.mark.parametrize("done", range(1, 9))
def test_a_restart_goes_on_with_the_next_batch(done: int) -> None:
    before, after = phases().loader(), phases().loader()
    read = numbers(before, done)
    after.load_state_dict(before.state_dict())
    assert read + numbers(after, 9 - done) == numbers(phases().loader(), 9)


def test_rates_by_hand() -> None:
    schedule = phases()
    assert schedule.peak_lr == 1e-2
    assert [schedule(0), schedule(1), schedule(2)] == [0.5, 1.0, 1.0]
    assert schedule(5) == pytest.approx(0.5)
    assert schedule(7) == pytest.approx(0.5 * (0.1 + 0.9 * 0.5))
    assert schedule(100) == pytest.approx(0.05)


class Record(L.Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[float, int, int]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.seen.append(
            (module.net.model.rope.size.rope_base, module.net.size.max_positions, batch["input_ids"].shape[1])
        )


def run(size: ModelSize, steps: int) -> tuple[Record, LM]:
    plan, record = phases(), Record()
    make = partial(torch.optim.AdamW, lr=plan.peak_lr)
    module = LM(lambda: LanguageModel(size), make, plan)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, callbacks=[PhaseSwitch(plan), record], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, plan.loader())
    return record, module


def test_base_context_and_data_change_together(tiny: ModelSize) -> None:
    record, module = run(tiny, 9)
    assert record.seen == [(1e3, 4, 4)] * 5 + [(1e5, 16, 16)] * 4
    assert (module.net.size.rope_base, module.net.size.max_positions) == (1e5, 16)


def test_a_run_of_another_length_is_refused(tiny: ModelSize) -> None:
    with pytest.raises(ValueError, match=r"max_steps=7 of the run must be the 9 steps of its phases"):
        run(tiny, 7)


def test_a_phase_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"steps of the phases must be 1 or more each.*\{'a': 0\}"):
        Phases({"a": Phase(0, Numbered(0, 1, 1), 1e4, 4, 1e-3)})


@pytest.mark.parametrize("first", [0, 5, 7])
def test_the_spike_guard_starts_anew_with_each_phase(tiny: ModelSize, first: int) -> None:
    plan, guard = phases(), SpikeGuard(threshold=1000.0)
    guard.losses.extend([1.0] * 10)
    module = LM(lambda: LanguageModel(tiny), schedule=plan, spikes=guard)
    module.configure_model()
    switch, step = PhaseSwitch(plan), SimpleNamespace(max_steps=9, global_step=first)
    switch.on_train_start(step, module)  # type: ignore[arg-type]
    kept = []
    for step.global_step in range(first, 9):
        switch.on_train_batch_start(step, module, None, 0)  # type: ignore[arg-type]
        kept.append(len(guard.losses))
    # A run that resumes at the boundary begins the phase. One that resumes later is in the middle of it.
    assert kept == [10 if step < 5 or first == 7 else 0 for step in range(first, 9)]
