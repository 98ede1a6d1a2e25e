"""What tests of several packages share. Imports stay inside: a package's tests run where the others are missing."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest


def pytest_configure() -> None:
    """Keep absl, which rouge_score brings, from closing pytest's own file.

    When Hydra configures logging, absl's handler closes the stream that was stderr as it was imported.
    """
    with suppress(ImportError):
        from absl.logging import get_absl_handler

        get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(autouse=True)
def _no_seed_of_another_test() -> None:
    """A seed that Lightning left in the environment would be that of all ranks which a later test starts."""
    os.environ.pop("PL_GLOBAL_SEED", None)


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``tokenizer.json`` of single bytes and the special tokens; to be read alone."""
    from internlm2_core.text.tokenizer import SPECIAL_TOKENS
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(file))
    return file


@pytest.fixture(scope="module")
def save_random_model(tokenizer_file: Path) -> Callable[..., Path]:
    """Writes a model of random weights with that tokenizer, given a folder and its sizes; returns the folder."""
    import torch
    from internlm2_core import LanguageModel, ModelSize
    from internlm2_core.checkpoint import save_released
    from internlm2_core.text.tokenizer import load_tokenizer

    def save(folder: Path, **sizes: Any) -> Path:
        size = ModelSize(**{"vocab_size": load_tokenizer(tokenizer_file).vocab_size, **sizes})
        net = LanguageModel(size)
        net.init_weights(torch.Generator().manual_seed(0))
        save_released(folder, size, net.state_dict().items(), tokenizer_file)
        return folder

    return save


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data: INTERNLM2_TEST_DATA, or shared/data beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("INTERNLM2_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set INTERNLM2_TEST_DATA)")
    return folder
