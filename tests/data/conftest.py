import tempfile
from importlib.util import find_spec

import pytest
from internlm2_data.stores import asking

from tests.data.counted_store import open_store

# The base install has no torch. Everything but the loaders is tested without it.
collect_ignore = [] if find_spec("torch") else ["loading", "test_provenance.py"]


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """The folder of the store ``counted://``, see `CountedStore`. It watches the temporary folder. Nothing waits."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(asking, "WAITS_S", (0.0, 0.0, 0.0))
    return open_store(tmp_path / "counted", watched=tmp_path / "temporary")
