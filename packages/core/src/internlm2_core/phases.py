"""All pre-training phases in one run (report section 3.3): 4k, then 32k, then enhancement.

`Phases` makes the batches (context, mixture, batch size), is the schedule of the learning rate, and moves the RoPE base
through `PhaseSwitch`. Nothing in it remembers where the run is: the loader's state and the optimizer step say so, and a
run that was stopped continues in the middle of any phase.
"""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import lightning as L

from internlm2_core.batch import Batch
from internlm2_core.lm import LM
from internlm2_core.optim import Cosine


class BatchLoader(Protocol):
    """Batches of one rank, pass after pass, from where its state says."""

    def __len__(self) -> int:
        """Batches of a whole pass."""

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the pass."""

    def state_dict(self) -> dict[str, Any]:
        """What comes after the last batch handed out."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue there."""


class Batches(Protocol):
    """Makes the loader of one data-parallel rank."""

    def held_out(self, source: Any) -> "Batches":
        """Batches of held-out data, one pass, made with the same settings.

        Args:
            source: A file, or several where the batches are made of several.
        """

    def loader(self, dp_rank: int, dp_size: int, num_workers: int) -> BatchLoader:
        """This rank's share of every global batch."""


@dataclass(frozen=True)
class Phase:
    """One phase.

    Attributes:
        steps: Optimizer steps.
        batches: Makes its loader. Context, mixture and batch size are its own.
        rope_base: Base of the rotary frequencies.
        context: Trained length in tokens, as config.json will name it.
        peak_lr: Learning rate after the warm-up.
        warmup_steps: Steps of linear warm-up.
        floor: What is left of the peak at the end, as a share.
    """

    steps: int
    batches: Batches
    rope_base: float
    context: int
    peak_lr: float
    warmup_steps: int = 0
    floor: float = 0.1


class Phases:
    """Phases one after another.

    Args:
        phases: By name, in order.

    Raises:
        ValueError: If there is no phase, or one has no steps.
    """

    def __init__(self, phases: Mapping[str, Phase]) -> None:
        if not phases or any(phase.steps < 1 for phase in phases.values()):
            steps = {name: phase.steps for name, phase in phases.items()}
            raise ValueError(f"steps of the phases must be 1 or more each, and there must be a phase: {steps}.")
        self.phases = list(phases.values())
        self._ends = list(accumulate(phase.steps for phase in self.phases))
        self._rates = [Cosine(phase.steps, phase.warmup_steps, phase.floor) for phase in self.phases]

    @property
    def total_steps(self) -> int:
        """Steps of all phases."""
        return self._ends[-1]

    @property
    def peak_lr(self) -> float:
        """The highest learning rate of all phases: what the factors of the schedule refer to."""
        return max(phase.peak_lr for phase in self.phases)

    def at(self, step: int) -> tuple[int, int]:
        """Index of the phase at an optimizer step, and the step inside it. The last phase has no end."""
        index = next((i for i, end in enumerate(self._ends) if step < end), len(self._ends) - 1)
        return index, step - (self._ends[index - 1] if index else 0)

    def __call__(self, step: int) -> float:
        """Factor of the learning rate at an optimizer step."""
        index, inside = self.at(step)
        return self._rates[index](inside) * self.phases[index].peak_lr / self.peak_lr

    def held_out(self, source: Any) -> Batches:
        """Batches of held-out data as the first phase makes them, so that losses of all phases compare."""
        return self.phases[0].batches.held_out(source)

    def loader(self, dp_rank: int = 0, dp_size: int = 1, num_workers: int = 0) -> "PhasedLoader":
        """The loaders of all phases as one."""
        return PhasedLoader(self, dp_rank, dp_size, num_workers)


class PhasedLoader:
    """Batches of phase after phase. A phase's loader is made when it begins.

    Args:
        phases: What to load.
        dp_rank: This rank among those that share the data.
        dp_size: How many they are.
        num_workers: Reading processes.
    """

    def __init__(self, phases: Phases, dp_rank: int, dp_size: int, num_workers: int) -> None:
        self.phases, self._rank = phases, (dp_rank, dp_size, num_workers)
        self._done, self._index = 0, -1
        self._loader = self._open(0)

    def __len__(self) -> int:
        """Batches of all phases."""
        return self.phases.total_steps

    def __iter__(self) -> Iterator[Batch]:
        """From where the state says to the end of the last phase, which continues where more is asked for."""
        batches = endless(self._loader)
        for _ in range(len(self) - self._done % len(self)):
            index, _ = self.phases.at(self._done)
            if index != self._index:
                batches.close()
                self._loader = self._open(index)
                batches = endless(self._loader)
            batch = next(batches)
            self._done += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Batches handed out, and the state of the phase's loader."""
        return {"done": self._done, "phase": self._index, "loader": self._loader.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue in the middle of a phase."""
        self._done = state["done"]
        self._loader = self._open(state["phase"])
        self._loader.load_state_dict(state["loader"])

    def _open(self, index: int) -> BatchLoader:
        self._index = index
        return self.phases.phases[index].batches.loader(*self._rank)


def endless(loader: BatchLoader) -> Generator[Batch, None, None]:
    """Pass after pass of a loader."""
    while True:
        yield from loader


class PhaseSwitch(L.Callback):
    """Moves RoPE base and trained length of an `LM` when a phase begins, also one that a resumed run begins in.

    The spike guard of the module starts anew with each phase.

    Steps that a spike guard leaves out count for the data but not here, so that the base may move that much later.

    Args:
        phases: The run's phases.
    """

    def __init__(self, phases: Phases) -> None:
        self.phases, self._index = phases, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check that the run ends where the phases do.

        Raises:
            ValueError: If the run has another number of steps than its phases.
        """
        if trainer.max_steps != self.phases.total_steps:
            raise ValueError(
                f"max_steps={trainer.max_steps} of the run must be the {self.phases.total_steps} steps of its phases."
            )
        self._index, _ = self.phases.at(max(0, trainer.global_step - 1))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set what the phase of this step wants."""
        assert isinstance(pl_module, LM)
        index, _ = self.phases.at(trainer.global_step)
        phase = self.phases.phases[index]
        if index != self._index and pl_module.spikes is not None:
            pl_module.spikes.begin_phase()
        self._index = index
        pl_module.net.set_positions(rope_base=phase.rope_base, max_positions=phase.context)
