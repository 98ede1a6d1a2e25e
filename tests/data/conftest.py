import os
from importlib.util import find_spec
from pathlib import Path

import pytest

# The base install has no torch; everything but the loaders is tested without it.
collect_ignore = [] if find_spec("torch") else ["loading"]


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data: INTERNLM2_TEST_DATA, or shared/data beside the repository."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("INTERNLM2_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set INTERNLM2_TEST_DATA)")
    return folder
