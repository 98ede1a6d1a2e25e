import numpy as np
import pytest
from internlm2_data.tokens import TokenWriter


@pytest.fixture
def write(tmp_path):
    """Writes documents as a token file and returns its path."""

    def write(documents, name="web", vocabulary=1000):
        with TokenWriter(tmp_path / name, vocabulary) as out:
            for document in documents:
                out.add(document)
        return tmp_path / name

    return write


@pytest.fixture
def numbered(write):
    """Documents of many lengths in which every token of the file is different (vocabulary 4 bytes wide)."""

    def numbered(count, seed, name="web", low=1, high=50, base=0):
        lengths = np.random.default_rng(seed).integers(low, high, count)
        ends = np.cumsum(lengths) + base
        return write([range(e - n, e) for e, n in zip(ends, lengths, strict=True)], name, vocabulary=1 << 20)

    return numbered
