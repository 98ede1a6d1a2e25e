"""Every layout of the table trains as one process does, and reads the checkpoints of others."""

from pathlib import Path

import pytest
from internlm2_parallel import MeshStrategy
from internlm2_parallel.testing import (
    LAYOUTS,
    Case,
    RankError,
    Record,
    SaveAt,
    TinyLlama,
    TinyLM,
    train_case,
)

NAMES = list(LAYOUTS)
SAVED_AT = 3
# Each layout's checkpoint is read by the second and the seventh after it, so by two of other kinds.
PAIRS = [(name, NAMES[(i + step) % len(NAMES)]) for i, name in enumerate(NAMES) for step in (2, 7)]
measured: dict[str, float] = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layouts")


@pytest.fixture(scope="module")
def saved(folder: Path) -> dict[str, Path]:
    return {}


def checkpoint_of(name: str, folder: Path, saved: dict[str, Path]) -> Path:
    """The checkpoint of a layout, written by a run of its own if the test that writes it was not selected."""
    if name not in saved:
        path = folder / f"{name}.ckpt"
        train_case(LAYOUTS[name], callbacks=[SaveAt(SAVED_AT, path)])
        saved[name] = path
    return saved[name]


@pytest.mark.parametrize("name", NAMES)
def test_layout_trains_as_one_process(name: str, reference: Record, folder: Path, saved: dict[str, Path]):
    case: Case = LAYOUTS[name]
    path = folder / f"{name}.ckpt"
    records = train_case(case, callbacks=[SaveAt(SAVED_AT, path)])
    saved[name] = path
    assert len(records[0].losses) >= 5
    measured[name] = max(record.distance(reference) for record in records)
    assert measured[name] < 1e-5


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=[f"{a} -> {b}" for a, b in PAIRS])
def test_checkpoint_goes_on_under_another_layout(
    source: str, target: str, reference: Record, folder: Path, saved: dict[str, Path]
):
    records = train_case(LAYOUTS[target], ckpt_path=checkpoint_of(source, folder, saved), max_steps=SAVED_AT + 1)
    assert [len(record.losses) for record in records] == [1] * LAYOUTS[target].ranks
    assert max(record.distance(reference, SAVED_AT) for record in records) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_network_from_the_meta_device_begins_and_trains_alike(name: str, reference: Record):
    def strategy(case: Case) -> MeshStrategy:
        return MeshStrategy(case.layout, case.treatment, deferred=True)

    records = train_case(LAYOUTS[name], strategy=strategy, max_steps=2)
    assert max(record.distance(reference) for record in records) < 1e-5


def test_a_network_that_does_not_say_its_weights_is_refused():
    class Silent(TinyLlama):
        def __init__(self) -> None:
            super().__init__()
            del self.initial_weights

    case = LAYOUTS["fsdp"]
    with pytest.raises(RankError, match=r"Silent was made on the meta device .* deferred=False"):
        train_case(
            case,
            module=lambda: TinyLM(net=Silent),
            strategy=lambda case: MeshStrategy(case.layout, case.treatment, deferred=True),
        )


def test_the_table_is_long_enough():
    assert len(LAYOUTS) >= 15
