import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from internlm2_data.stores import asking

from tests.data.counted_store import open_store

# The base install has no torch. Everything but the loaders is tested without it.
collect_ignore = [] if find_spec("torch") else ["loading", "test_provenance.py"]


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """The folder of the store ``counted://``, see `CountedStore`. It watches the temporary folder. Nothing waits.

    That folder has a short name: workers of a loader make sockets in it, whose names may have 107 characters.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(asking, "WAITS_S", (0.0, 0.0, 0.0))
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        yield open_store(tmp_path / "counted", watched=Path(short))
