"""What is imported when: the network, generation and their jobs start without Lightning."""

import subprocess
import sys

import internlm2_core
import pytest

LIGHT = """
import sys
import internlm2_core
assert "torch" not in sys.modules
internlm2_core.load_tokenizer
assert "torch" not in sys.modules
internlm2_core.load_model, internlm2_core.LocalEngine, internlm2_core.LanguageModel
import internlm2_core.evaluation, internlm2_core.jobs, internlm2_core.report
internlm2_core.jobs.chat, internlm2_core.jobs.generate, internlm2_core.jobs.convert
assert not {"torch._dynamo", "torch.distributed.fsdp", "transformers"} & sys.modules.keys()
assert "lightning" not in sys.modules, [name for name in sys.modules if name.startswith("internlm2")]
internlm2_core.LM
assert "lightning" in sys.modules
"""


def test_lightning_is_imported_for_lightning_modules_alone() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there() -> None:
    assert len(internlm2_core.__all__) <= 12
    for name in internlm2_core.__all__:
        assert getattr(internlm2_core, name).__doc__
        assert name in dir(internlm2_core)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        internlm2_core.nonsense  # noqa: B018
