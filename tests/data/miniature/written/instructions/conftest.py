import pytest
from internlm2_data.miniature.written.instructions import Shares, write_set

SIZES = {"train": 2400, "prompts": 1200, "heldout": 240, "lookalike": 240}


@pytest.fixture(scope="session")
def sets():
    return {name: write_set(name, size, seed, Shares()) for seed, (name, size) in enumerate(SIZES.items())}


@pytest.fixture(scope="session")
def records(sets):
    return [record for found in sets.values() for record in found]
