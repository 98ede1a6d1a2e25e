"""mypy checks that MeshStrategy is what core and align ask of a strategy; nothing is found by name at run time."""

import subprocess
import sys
from pathlib import Path

import pytest
from internlm2_parallel import Layout, MeshStrategy, Sharding, Treatment

ROOT = Path(__file__).parents[2]
SEAMS = """
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from internlm2_parallel import MeshStrategy
from torch import Tensor, nn


class SaysHowWeightsLie(Protocol):
    @property
    def gathers_weights(self) -> bool: ...
    @property
    def splits_rows(self) -> bool: ...
    @property
    def splits_layers(self) -> bool: ...
    @property
    def has_stages(self) -> bool: ...


class GivesWholeWeights(Protocol):
    def whole_weights(self, net: nn.Module) -> dict[str, Tensor]: ...


class WritesInBackground(Protocol):
    def finish_writing(self) -> None: ...


class ChecksCopies(Protocol):
    def check_copy(self, check: Callable[[Mapping[str, Mapping[str, Any]]], None]) -> bool: ...


class CopiesWholeWeights(Protocol):
    def each_whole_weight(self, net: nn.Module) -> Iterator[tuple[str, Tensor]]: ...
    def of_first_peer(self, value: Any) -> Any: ...


class SharesCopies(Protocol):
    def shared_copy(self, copy: nn.Module, net: nn.Module, ranks: int) -> AbstractContextManager[Any]: ...


class SharesRows(Protocol):
    @property
    def data_parallel_rank(self) -> int: ...
    @property
    def data_parallel_size(self) -> int: ...
    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]: ...


def ask(
    strategy: MeshStrategy,
) -> tuple[
    SaysHowWeightsLie, GivesWholeWeights, WritesInBackground, ChecksCopies, CopiesWholeWeights, SharesCopies, SharesRows
]:
    return strategy, strategy, strategy, strategy, strategy, strategy, strategy


class AsksForMore(Protocol):
    @property
    def unheard_of(self) -> bool: ...


def ask_more(strategy: MeshStrategy) -> AsksForMore:
    return strategy  # wrong
"""


@pytest.mark.slow
def test_mypy_finds_what_the_consumers_declare_and_nothing_else(tmp_path):
    file = tmp_path / "seams.py"
    file.write_text(SEAMS)
    words = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(file)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    errors = [line for line in done.stdout.splitlines() if " error: " in line]
    wrong = 1 + next(number for number, line in enumerate(SEAMS.splitlines()) if line.endswith("# wrong"))
    assert len(errors) == 1 and f"seams.py:{wrong}: " in errors[0], done.stdout


@pytest.mark.parametrize(
    ("layout", "extent", "answers"),
    [
        (Layout(), "full", (False, False, False, False)),
        (Layout(shard=2), "full", (True, False, False, False)),
        (Layout(shard=-1), "full", (True, False, False, False)),
        (Layout(shard=2), "replica", (False, False, False, False)),
        (Layout(tensor=2), "full", (False, False, True, False)),
        (Layout(pipeline=-1), "replica", (False, False, True, True)),
        (Layout(context=2), "replica", (False, True, False, False)),
    ],
)
def test_what_a_layout_says(layout, extent, answers):
    strategy = MeshStrategy(layout, Treatment(sharding=Sharding(parameters=extent)))
    asked = ("gathers_weights", "splits_rows", "splits_layers", "has_stages")
    assert tuple(getattr(strategy, name) for name in asked) == answers
