import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data: INTERNLM2_TEST_DATA, or shared/data beside the repository."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("INTERNLM2_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set INTERNLM2_TEST_DATA)")
    return folder
